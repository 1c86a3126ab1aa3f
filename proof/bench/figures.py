"""The figures this template is held to: what was measured, the goal, and whether it is met."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Literal

from proof.bench import switches
from proof.bench.client import Result
from proof.bench.connections import Spread, evenness
from proof.bench.generator import WRK
from proof.bench.routes import Samples
from proof.bench.sample import Series

RATIOS: tuple[tuple[str, str, str, float | None], ...] = (
    ("redirect", "ours", "textbook", 7.0),
    ("redirect", "ours", "textbook, logging", None),
    ("redirect", "ours", "ceiling", 0.55),
    ("redirect", "ours, 1 of 100 logged", "ceiling", 0.65),
    ("redirect", "ours", "nginx", None),
    ("read", "ours", "textbook", 1.4),
    ("read", "ours", "textbook, logging", None),
    ("create", "ours", "textbook", None),
    ("qr", "ours", "textbook", None),
)
"""Route, one server, another, and how many times as many requests a second the one answers. `ours` logs every request; a
create is held to the textbook's CPU.
"""


@dataclass(frozen=True)
class Figure:
    name: str
    value: float
    unit: str
    goal: float | None = None
    side: Literal["at least", "at most"] = "at least"
    detail: str = ""

    @property
    def met(self) -> bool | None:
        """None where there is no goal."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.side == "at least" else self.value <= self.goal


MOST_OF_A_SWITCH = 1.34
"""Nothing costs more than a third, but to trace everything."""


def of_switches(costs: switches.Costs) -> Iterator[Figure]:
    for route, series in costs.items():
        defaults = series[switches.DEFAULTS].of("cpu_us")
        for name, each in series.items():
            if name != switches.DEFAULTS:
                ratios = [one / other for one, other in zip(each.of("cpu_us"), defaults, strict=True)]
                goal = None if name == "tracing 100 %" else MOST_OF_A_SWITCH
                cost, default = each.median("cpu_us"), median(defaults)
                detail = f"{cost:.1f} and {default:.1f} µs, {_range(ratios)}"
                yield Figure(
                    f"{route}, {name} / defaults, CPU a request", cost / default, "x", goal, "at most", detail=detail
                )


def of_routes(samples: Samples) -> Iterator[Figure]:
    for route, one, other, goal in RATIOS:
        if route in samples and {one, other} <= samples[route].keys():
            yield from _against(samples, route, one, other, goal)


def _against(samples: Samples, route: str, one: str, other: str, goal: float | None) -> Iterator[Figure]:
    ours, theirs = samples[route][one], samples[route][other]
    if WRK is not None:
        rates = [a.requests_per_s / b.requests_per_s for a, b in zip(ours.samples, theirs.samples, strict=True)]
        yield Figure(
            f"{route}, {one} / {other}, requests/s",
            _quotient(ours, theirs, "requests_per_s"),
            "x",
            goal,
            detail=_range(rates),
        )
    goal_by_cpu = 1.0 if route == "create" else None
    costs = [b.cpu_us / a.cpu_us for a, b in zip(ours.samples, theirs.samples, strict=True)]
    yield Figure(
        f"{route}, {other} / {one}, CPU a request",
        _quotient(theirs, ours, "cpu_us"),
        "x",
        goal_by_cpu,
        detail=_range(costs),
    )


def _quotient(above: Series, below: Series, of: str) -> float:
    """Return the ratio of the medians that the table prints, which need not be the median of the ratios."""
    return above.median(of) / below.median(of)


def _range(ratios: list[float]) -> str:
    return f"{min(ratios):.2f} to {max(ratios):.2f} over the rounds"


def of_cpu_beside(found: dict[str, list[tuple[Result, Result]]]) -> Iterator[Figure]:
    p99 = {name: median(redirects.p99_ms for _, redirects in rounds) for name, rounds in found.items()}
    jobs = {name: median(jobs.rps for jobs, _ in rounds) for name, rounds in found.items()}
    yield Figure(
        "p99 of a redirect beside CPU work, textbook / ours",
        p99["textbook"] / p99["ours"],
        "x",
        20,
        detail=f"{p99['textbook']:.0f} ms and {p99['ours']:.1f} ms",
    )
    yield Figure(
        "CPU work beside redirects, ours / textbook",
        jobs["ours"] / jobs["textbook"],
        "x",
        0.95,
        detail=f"{jobs['ours']:.1f} and {jobs['textbook']:.1f} jobs/s",
    )


def of_cpu_scaling(jobs: dict[int, float], turns: dict[int, float]) -> Iterator[Figure]:
    """The second worker cannot bring more than a second bare process brings on the same machine."""
    workers, machine = jobs[2] / jobs[1], turns[2] / turns[1]
    yield Figure("CPU work, 2 workers / 1", workers, "x", detail=f"{jobs[2]:.1f} and {jobs[1]:.1f} jobs/s")
    yield Figure("the machine, 2 bare processes / 1", machine, "x")
    yield Figure("CPU work, 2 workers / 1, by the machine's", workers / machine, "x", 0.97)


def of_spread(found: dict[str, dict[int, Spread]]) -> Iterator[Figure]:
    for name, by_workers in found.items():
        for workers, arrivals in by_workers.items():
            worst = max(arrivals.values(), key=evenness)
            goal = 1.25 if name == "ours" and workers == 4 else None
            title = f"keep-alive connections over {workers} workers, max / mean, {name}"
            yield Figure(title, evenness(worst), "x", goal, "at most", detail=" ".join(map(str, worst)))


def of_many(answered: int, each_kb: float, asked: int) -> Iterator[Figure]:
    yield Figure(f"{asked} idle connections on one worker, answered", answered, "", asked)
    yield Figure("an idle connection", each_kb, "kB", 10, "at most")


def of_life(memory_mb: dict[str, float], restart_s: dict[str, float]) -> Iterator[Figure]:
    yield Figure("memory of a worker (PSS, 4 workers), ours", memory_mb["ours"], "MiB", 40, "at most")
    yield Figure("memory of a worker (PSS, 4 workers), textbook", memory_mb["textbook"], "MiB")
    for name, seconds in restart_s.items():
        yield Figure(f"from kill -9 of the only worker to an answer, {name}", seconds, "s")
