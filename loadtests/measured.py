"""Figures of the users of this Locust process, and their sum over all processes where Locust is distributed."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from locust import events, runners

from loadtests.times import two_digits

PING = "ping"
# Locust's workers report every three seconds, which is too seldom for a line about this second.
runners.WORKER_REPORT_INTERVAL = 1.0


@dataclass
class Figures:
    """Counts since the last look, and the requests that are under way now."""

    elapsed_s: float = 1.0
    """The time in which they were counted. A machine that is busy makes it longer than the second that it should be."""
    served: Counter[str] = field(default_factory=Counter)
    """Answers by the worker of the service that gave them."""
    pings_ms: list[float] = field(default_factory=list)
    answered: int = 0
    failed: int = 0
    arrived: int = 0
    """Requests that were sent without waiting for an earlier answer."""
    late_ms: float = 0.0
    """How late the latest of them was sent."""
    took_ms: Counter[int] = field(default_factory=Counter)
    """Answers by the milliseconds that they took, two digits exact; those of arrivals count from when they were due."""
    in_flight: int = 0
    oldest_ping_ms: float = 0.0

    def add(self, other: "Figures") -> None:
        self.served.update(other.served)
        self.pings_ms += other.pings_ms
        self.answered += other.answered
        self.failed += other.failed
        self.arrived += other.arrived
        self.late_ms = max(self.late_ms, other.late_ms)
        self.took_ms.update(other.took_ms)


class Process:
    """The figures of this process. A ping is measured, and is no part of the load."""

    def __init__(self) -> None:
        self.figures = Figures()
        self._since: dict[int, tuple[bool, float]] = {}
        self._numbers = 0

    @contextmanager
    def under_way(self, name: str) -> Iterator[None]:
        self._numbers = number = self._numbers + 1
        self._since[number] = name == PING, time.monotonic()
        try:
            yield
        finally:
            del self._since[number]

    def take(self) -> Figures:
        taken, self.figures = self.figures, Figures()
        taken.in_flight = len(self._since) - len(self._pings)
        taken.oldest_ping_ms = self.oldest_ping_ms
        return taken

    @property
    def oldest_ping_ms(self) -> float:
        return (time.monotonic() - min(self._pings)) * 1000 if self._pings else 0.0

    @property
    def _pings(self) -> list[float]:
        """When each ping was sent that is under way."""
        return [since for is_ping, since in self._since.values() if is_ping]


class Everywhere:
    """The figures of all Locust processes that live, in the process with the web UI."""

    def __init__(self) -> None:
        self._recent = Figures()
        self._taken_s = time.monotonic()
        self._now: dict[str, tuple[int, float]] = {}

    def hear(self, process: str, figures: Figures) -> None:
        self._recent.add(figures)
        self._now[process] = figures.in_flight, figures.oldest_ping_ms

    def take(self, living: set[str]) -> Figures:
        """Return the sum since the last call. The counts of a process that died stay; its open requests do not."""
        taken, self._recent = self._recent, Figures()
        now_s = time.monotonic()
        taken.elapsed_s, self._taken_s = now_s - self._taken_s, now_s
        self._now = {process: now for process, now in self._now.items() if process in living}
        taken.in_flight = sum(in_flight for in_flight, _ in self._now.values())
        taken.oldest_ping_ms = max((oldest_ms for _, oldest_ms in self._now.values()), default=0.0)
        return taken


here = Process()
everywhere = Everywhere()


@events.request.add_listener
def count(name: str, response_time: float, response: Any = None, exception: Any = None, **_: object) -> None:
    figures = here.figures
    if response is not None and (worker := (response.headers or {}).get("X-Worker")):
        figures.served[worker] += 1
    if name == PING:
        figures.pings_ms.append(response_time)
        return
    figures.answered += exception is None
    figures.failed += exception is not None
    figures.took_ms[two_digits(response_time)] += 1


@events.report_to_master.add_listener
def report(data: dict[str, Any], **_: object) -> None:
    data["figures"] = vars(here.take())


@events.worker_report.add_listener
def receive(client_id: str, data: dict[str, Any], **_: object) -> None:
    if told := data.get("figures"):
        counters = {name: Counter(told[name]) for name in ("served", "took_ms")}
        everywhere.hear(client_id, Figures(**{**told, **counters}))
