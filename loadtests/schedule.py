"""When the requests of an open loop are due: at a rate, whether or not the earlier ones were answered."""

import random
from collections.abc import Callable, Iterator

LEAST_PER_S = 0.1
GAPS_S: dict[str, Callable[[float], float]] = {"poisson": random.expovariate, "constant": lambda rate: 1 / rate}
"""Seconds to the next arrival at a rate. Visitors who know nothing of one another are a Poisson process."""


def due_times(rate: Callable[[float], float], kind: str) -> Iterator[float]:
    """Yield the seconds from the start at which a request is due, for a rate that may change with these seconds."""
    now_s = 0.0
    while True:
        now_s += GAPS_S[kind](max(LEAST_PER_S, rate(now_s)))
        yield now_s
