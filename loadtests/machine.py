"""Whether other programs take the CPU that a run on the same machine measures."""

import statistics
from collections import deque
from collections.abc import Sequence
from urllib.parse import urlsplit

import psutil

SECONDS = 5
FULL_PERCENT = 90
OTHERS_CORES = 0.5
"""Cores that other programs may use before the page says so. Databases of the service are among them."""


class Machine:
    def __init__(self) -> None:
        self._seconds: deque[tuple[float, float]] = deque(maxlen=SECONDS)
        psutil.cpu_percent()  # the first call begins to measure

    def measure(self, workers_percent: float, generator_percent: float) -> None:
        """Take in one more second, with the CPU of all workers and of all Locust processes in percent of a core."""
        self.add(psutil.cpu_percent(), workers_percent + generator_percent)

    def add(self, machine_percent: float, known_percent: float) -> None:
        self._seconds.append((machine_percent, known_percent))

    def others_cores(self, cores: int) -> float:
        """Return the cores that other programs use while all are busy; 0 where they take nothing that is asked for."""
        if len(self._seconds) < SECONDS or statistics.median(machine for machine, _ in self._seconds) < FULL_PERCENT:
            return 0.0
        others = statistics.median(machine * cores - known for machine, known in self._seconds) / 100
        return round(others, 1) if others >= OTHERS_CORES else 0.0

    def warnings(self, cores: int) -> Sequence[str]:
        if not (others := self.others_cores(cores)):
            return []
        return [
            f"This machine's CPU is full, and {others} of its {cores} cores go neither to the workers nor to Locust but to "
            "other programs, such as databases and this browser: expect worse figures than without them."
        ]


def is_beside(host: str | None) -> bool:
    """Whether the service is on Locust's machine."""
    return urlsplit(host or "").hostname in {"127.0.0.1", "::1", "localhost", "proxy"}
