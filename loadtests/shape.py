"""How the users of one scenario come and go: the shares that are present at a moment, and a shape of Locust for each."""

import math
from collections.abc import Callable
from typing import Any

from locust import LoadTestShape

STEPS = 10
WAVE_S = 600


def steady(now_s: float, lasts_s: float) -> float:  # noqa: ARG001
    return 1


def steps(now_s: float, lasts_s: float) -> float:
    return (int(STEPS * now_s / lasts_s) + 1) / STEPS


def spike(now_s: float, lasts_s: float) -> float:
    return 1 if lasts_s / 3 <= now_s < 2 * lasts_s / 3 else 0.1


def soak(now_s: float, lasts_s: float) -> float:  # noqa: ARG001
    return 0.65 - 0.35 * math.cos(2 * math.pi * now_s / WAVE_S)


LOADS: dict[str, Callable[[float, float], float]] = {"steady": steady, "steps": steps, "spike": spike, "soak": soak}
LASTS_S = {"steps": 200.0, "spike": 90.0}
"""Seconds, unless a run time is asked for. The other loads go on until they are stopped."""


def share(load: str, now_s: float, run_time_s: float | None) -> float | None:
    """The share of the users that are present, 0 to 1; None once the run is over."""
    lasts_s = run_time_s or LASTS_S.get(load, math.inf)
    return LOADS[load](now_s, lasts_s) if now_s < lasts_s else None


class Shape(LoadTestShape):
    abstract = True
    use_common_options = True
    load = "steady"

    def tick(self) -> tuple[int, float] | None:
        assert self.runner
        options: Any = self.runner.environment.parsed_options
        users = options.num_users or 100
        present = share(self.load, self.get_run_time(), options.run_time)
        return None if present is None else (max(1, round(users * present)), max(1, users / 5))
