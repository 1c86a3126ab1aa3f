"""The evidence of a claim: the samples of its windows, and all that speaks against trusting them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from proof.prove.claims import Bound, Claim, Figure, Ratio
from proof.prove.window import Sample

Results = Mapping[str, Sequence[Sample]]
"""The samples of each window, one a repetition, in the same order for every window."""

SATURATED = 0.9
"""Share of a core. A generator that computes, or wants to, for longer than this measures itself."""
CROWDED = 0.2
"""Cores. Other programs are an excuse where they use more than this, and ours waited for a core for more than this."""
LATE = frozenset({"503", "504", "no answer", "TimeoutError"})
"""Answers of a service that had no time. On a machine that other programs hold they are no fault of its own."""
STARVED = 0.5
"""Cores that ours waited for while no other program took them: the machine has too few for generators and service."""
REFUSALS = {
    "401": "the deployment wants a key",
    "403": "the deployment forbids it",
    "404": "there is no such route: the lab, or the feature, is off",
    "429": "the deployment limits its clients",
}


def rates(results: Results, window: str) -> list[float]:
    return [sample.per_second for sample in results.get(window, ())]


def medians_ms(results: Results, window: str) -> list[float]:
    return [sample.latency_ms.p50 for sample in results.get(window, ())]


def ping_p99s_ms(results: Results, window: str) -> list[float]:
    return [sample.ping_ms.p99 for sample in results.get(window, ())]


@dataclass(frozen=True)
class Evidence:
    results: Results
    windows: Sequence[str]
    allowed: tuple[str, ...] = ()
    """Answers other than success that belong to the experiment."""

    def claim(  # noqa: PLR0913 - a claim has many parts, all of them named
        self,
        name: str,
        says: str,
        *,
        compares: str,
        bound: Bound,
        ratios: Ratio,
        figures: Sequence[Figure],
        faults: Sequence[str] = (),
        obstacles: Sequence[str] = (),
        excuses: Sequence[str] = (),
    ) -> Claim:
        """Return the claim with the faults, obstacles and excuses that the samples show."""
        excuses = (*excuses, *self._excuses())
        late = tuple(self._faults(late=True))
        return Claim(
            name,
            says,
            compares,
            bound,
            ratios,
            tuple(figures),
            faults=(*faults, *self._faults(), *(() if excuses else late)),
            obstacles=(*obstacles, *self._obstacles(), *(late if excuses else ())),
            excuses=excuses,
        )

    def _samples(self) -> Iterator[Sample]:
        return (sample for window in self.windows for sample in self.results.get(window, ()))

    def _faults(self, *, late: bool = False) -> Iterator[str]:
        """Yield answers that a service in good health does not give; `late` are those that a starved one gives too."""
        for sample in self._samples():
            for status, count in sample.statuses.items():
                is_fine = status.startswith(("2", "3")) or status in {*self.allowed, *REFUSALS}
                if not is_fine and (status in LATE) == late:
                    yield f"{sample.window}: {count} times {status}"
            if late and sample.statuses.keys() and sample.statuses.keys() <= {*self.allowed} and not sample.done:
                yield f"{sample.window}: no request succeeded"

    def _obstacles(self) -> Iterator[str]:
        for sample in self._samples():
            for status in sample.statuses:
                if status in REFUSALS:
                    yield f"{sample.window}: {REFUSALS[status]}"
            wanted = sample.generator.cpu + sample.generator.starved
            if wanted > SATURATED:
                yield f"{sample.window}: the load generator was saturated ({wanted:.0%} of a core)"

    def _excuses(self) -> Iterator[str]:
        foreign, starved = (
            median([getattr(sample, name) for sample in self._samples()] or [0.0])
            for name in ("foreign_cores", "starved_cores")
        )
        if foreign > CROWDED and starved > CROWDED:
            yield f"other programs used {foreign:.1f} cores of this machine, and ours waited for {starved:.1f}"
        elif starved > STARVED:
            yield f"ours waited for {starved:.1f} cores: the machine has too few for the load and the service"
