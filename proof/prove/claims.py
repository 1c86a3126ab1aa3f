"""A claim is a ratio within one run, what it is expected to be, and a verdict. Nothing here measures or prints."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

from proof.prove.interval import FEWEST, Interval, interval

Verdict = Literal["proved", "not proved", "cannot be told here"]


@dataclass(frozen=True)
class Bound:
    kind: Literal["at least", "at most"]
    value: float

    def holds(self, ratio: float) -> bool:
        return ratio >= self.value if self.kind == "at least" else ratio <= self.value

    def __str__(self) -> str:
        return f"{self.kind} {self.value:g}"


@dataclass(frozen=True)
class Figure:
    label: str
    value: float
    """The median of the rounds."""
    unit: str
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class Ratio:
    rounds: tuple[float, ...]
    """One a round: both of its sides were measured within seconds of each other."""
    of_medians: float | None = None
    """The ratio of the two figures that are shown above it."""


@dataclass(frozen=True)
class Claim:
    name: str
    says: str
    compares: str
    bound: Bound
    measured: Ratio
    figures: tuple[Figure, ...]
    faults: tuple[str, ...] = ()
    """Faults of the service. With one, the claim is not proved, with any ratio."""
    obstacles: tuple[str, ...] = ()
    """Why this run cannot tell, whatever the ratio."""
    excuses: tuple[str, ...] = ()
    """Why this run cannot tell if the ratio falls short: the machine, and not the service, may be the reason."""

    @property
    def ratio(self) -> float:
        if self.measured.of_medians is not None:
            return self.measured.of_medians
        return median(self.measured.rounds) if self.measured.rounds else math.nan

    @property
    def interval(self) -> Interval | None:
        """The ratio lies in it; None where nothing was measured."""
        if not self.measured.rounds:
            return None
        found = interval(self.measured.rounds)
        return replace(found, low=min(found.low, self.ratio), high=max(found.high, self.ratio))

    @property
    def verdict(self) -> Verdict:
        if self.faults:
            return "not proved"
        found = self.interval
        if self.obstacles or found is None:
            return "cannot be told here"
        sides = {self.bound.holds(end) for end in (found.low, found.high)}
        if sides == {True}:
            return "proved"
        return "not proved" if sides == {False} and not self.excuses else "cannot be told here"

    @property
    def why(self) -> str:
        if self.verdict == "proved":
            return ""
        return "; ".join(dict.fromkeys(self.faults or self.obstacles or (*self.excuses, *self._doubts())))

    def _doubts(self) -> Iterator[str]:
        """Yield what would tell, if this run cannot."""
        found = self.interval
        if self.verdict != "cannot be told here" or found is None:
            return
        yield f"the ratio lies between {found.low:.3g} and {found.high:.3g}"
        if self.excuses:
            yield "a calmer machine, or one with more cores, would tell"
        elif len(self.measured.rounds) < FEWEST:
            yield "more rounds would tell (--repeat 5)"
        else:
            yield "more or longer rounds would tell (--repeat, --seconds)"


def at_least(value: float) -> Bound:
    return Bound("at least", value)


def at_most(value: float) -> Bound:
    return Bound("at most", value)


def ratios(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Pair by pair; where nothing was measured there is no ratio."""
    pairs = [(top, bottom) for top, bottom in zip(above, below, strict=True) if top > 0 and bottom > 0]
    if not pairs or len(pairs) < len(above):
        return Ratio(tuple(top / bottom for top, bottom in pairs))
    return Ratio(tuple(top / bottom for top, bottom in pairs), median(above) / median(below))


def figure(label: str, values: Sequence[float], unit: str) -> Figure:
    if not values:
        return Figure(label, 0.0, unit)
    return Figure(label, round(median(values), 3), unit, round(min(values), 3), round(max(values), 3))
