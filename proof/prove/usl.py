"""The Universal Scalability Law fitted to measured points: what more workers would give, and where they stop giving.

    throughput(n) = rate * n / (1 + contention * (n - 1) + coherency * n * (n - 1))

Neil J. Gunther, "Guerrilla Capacity Planning", chapter 6. It says nothing about machines it was not measured on.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from proof.prove.interval import FEWEST

WIDEST = 2.0
"""Factor between the ends of an extrapolation. A wider one says nothing, and is left out."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    rate: float
    """Throughput of one worker."""
    contention: float
    """The share of the work that must be done one at a time."""
    coherency: float | None
    """The price of keeping each pair of workers in step; None where fewer than three numbers of workers were measured."""
    error: float
    """Root mean square of the relative distance between the points and the law."""
    measured_to: int
    """The largest number of workers among the points."""

    def throughput(self, workers: float) -> float:
        return float(_usl(np.array(float(workers)), self.rate, self.contention, self.coherency or 0.0))

    @property
    def peak(self) -> float:
        """The number of workers beyond which another one makes it slower."""
        if not self.coherency:
            return math.inf
        return max(1.0, math.sqrt(max(0.0, 1 - self.contention) / self.coherency))

    def workers_for(self, load: float) -> int | None:
        """None where no number of workers is enough."""
        limit = self.rate / self.contention if self.contention and not self.coherency else math.inf
        most = math.floor(self.peak) if math.isfinite(self.peak) else 1_000_000
        if load >= limit or self.throughput(most) < load:
            return None
        low, high = 1, most  # throughput grows up to the peak
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.throughput(middle) >= load else (middle + 1, high)
        return low

    def replicas_for(self, load: float, *, workers: int) -> int:
        """Machines like this one with `workers` each, if what they share (Postgres, Redis) keeps up."""
        return max(1, math.ceil(load / self.throughput(workers)))


def fit_all(rounds: Sequence[Sequence[tuple[int, float]]]) -> Law | None:
    """Fit one law to all rounds; None where fewer than two numbers of workers have throughput."""
    points = [point for each in rounds for point in each]
    return fit(points) if len({count for count, _ in points}) > 1 else None


def extrapolate(
    rounds: Sequence[Sequence[tuple[int, float]]], ask: Callable[[Law], int | None]
) -> tuple[int, int] | None:
    """Ask the law of each round for a number, and return the least and the greatest.

    None where the rounds do not agree within `WIDEST`, or are too few to tell.
    """
    laws = [law for each in rounds if (law := fit_all([each])) is not None]
    answers = [ask(law) for law in laws]
    numbers = [answer for answer in answers if answer is not None]
    if len(laws) < FEWEST or len(numbers) < len(laws) or max(numbers) > WIDEST * min(numbers):
        return None
    return min(numbers), max(numbers)


def fit(points: Sequence[tuple[int, float]]) -> Law:
    """Least squares of the relative errors, so that a point counts as much at 1 worker as at 16.

    Raises:
        ValueError: fewer than two numbers of workers.
    """
    workers, rates = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    kinds = len(set(workers))
    if kinds < 2:
        raise ValueError("A scaling law needs throughput at two numbers of workers at least.")
    free = 3 if kinds >= 3 else 2  # two numbers of workers cannot tell coherency from contention
    start = [float(np.median(rates / workers)), 0.01, 0.001][:free]

    def relative_errors(parameters: Floats) -> Floats:
        errors: Floats = _usl(workers, *parameters) / rates - 1
        return errors

    found = least_squares(relative_errors, start, x_scale=start, bounds=([0.0] * free, [np.inf, 1.0, 1.0][:free]))
    rate, contention, *rest = (float(value) for value in found.x)
    error = float(np.sqrt(np.mean(found.fun**2)))
    return Law(rate, contention, rest[0] if rest else None, error, measured_to=int(workers.max()))


def _usl(n: Floats, rate: float, contention: float, coherency: float = 0.0) -> Floats:
    throughput: Floats = rate * n / (1 + contention * (n - 1) + coherency * n * (n - 1))
    return throughput
