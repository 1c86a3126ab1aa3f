"""A claim is a ratio within one run, what it is expected to be, and a verdict. Nothing here measures or prints."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

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
    unit: str


@dataclass(frozen=True)
class Claim:
    name: str
    says: str
    compares: str
    bound: Bound
    ratios: tuple[float, ...]
    """One a repetition: both sides of a ratio were measured within seconds of each other."""
    figures: tuple[Figure, ...]
    faults: tuple[str, ...] = ()
    """Faults of the service. With one, the claim is not proved, with any ratio."""
    obstacles: tuple[str, ...] = ()
    """Why this run cannot tell, whatever the ratio."""
    excuses: tuple[str, ...] = ()
    """Why this run cannot tell if the ratio falls short: the machine, and not the service, may be the reason."""

    @property
    def ratio(self) -> float:
        return median(self.ratios) if self.ratios else math.nan

    @property
    def made_of(self) -> str:
        """Name what is divided by what. The figures are medians of all repetitions, and need not be of the same one."""
        return f"{self.compares}, median of {len(self.ratios)} pairs" if len(self.ratios) > 1 else self.compares

    @property
    def verdict(self) -> Verdict:
        if self.faults:
            return "not proved"
        if self.obstacles or not self.ratios:
            return "cannot be told here"
        if self.bound.holds(self.ratio):
            return "proved"
        return "cannot be told here" if self.excuses else "not proved"

    @property
    def why(self) -> str:
        if self.verdict == "proved":
            return ""
        return "; ".join(dict.fromkeys(self.faults or self.obstacles or self.excuses))


def at_least(value: float) -> Bound:
    return Bound("at least", value)


def at_most(value: float) -> Bound:
    return Bound("at most", value)


def ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, ...]:
    """Pair by pair; where nothing was measured there is no ratio."""
    pairs = zip(above, below, strict=True)
    return tuple(top / bottom for top, bottom in pairs if top > 0 and bottom > 0)


def figure(label: str, values: Sequence[float], unit: str) -> Figure:
    return Figure(label, round(median(values), 3) if values else 0.0, unit)
