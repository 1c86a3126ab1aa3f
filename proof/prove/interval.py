"""The interval in which a median lies, from a few rounds: no shape of the noise is assumed.

This is the interval of the sign test: Hahn and Meeker, "Statistical Intervals", section 5.2. Of n rounds the smallest and the
largest enclose the median with probability 1 - 2 ** (1 - n): 75 % of three rounds, 94 % of five.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

ENOUGH = 0.95
FEWEST = 3
UNKNOWN_SPREAD = 2.0
"""Fewer rounds show no spread, so that their figure is taken to be right within this factor."""


@dataclass(frozen=True)
class Interval:
    low: float
    high: float
    confidence: float
    """The probability that the median lies in it; 0 where there were too few rounds to say."""


def interval(values: Sequence[float]) -> Interval:
    """Return the narrowest interval that is certain enough; of few rounds, the widest that there is."""
    ordered = sorted(values)
    count = len(ordered)
    if count < FEWEST:
        return Interval(ordered[0] / UNKNOWN_SPREAD, ordered[-1] * UNKNOWN_SPREAD, 0.0)
    left_out = max((k for k in range(count // 2) if _confidence(count, k) >= ENOUGH), default=0)
    return Interval(ordered[left_out], ordered[-1 - left_out], _confidence(count, left_out))


def _confidence(count: int, left_out: int) -> float:
    """The probability that the median lies between two of `count` values, with `left_out` beyond each of the two."""
    beyond = sum(math.comb(count, k) for k in range(left_out + 1))
    return 1.0 - 2.0 * beyond / float(2**count)
