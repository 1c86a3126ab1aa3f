"""The last seconds of a run: what the line on top and the charts are made from."""

import statistics
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from loadtests.measured import Figures
from loadtests.times import percentile
from loadtests.words import Second
from loadtests.workers import Worker

SECONDS = 3
"""Seconds over which rates and the ping of the line on top are taken."""


class Recent:
    def __init__(self) -> None:
        self._seconds: deque[Figures] = deque(maxlen=SECONDS)
        self.add, self.clear = self._seconds.append, self._seconds.clear

    def second(self, stage: str, workers: Sequence[Worker], oldest_ping_ms: float) -> Second:
        seconds, elapsed_s = self._seconds, self._elapsed_s
        answered, failed = sum(each.answered for each in seconds), sum(each.failed for each in seconds)
        return Second(
            stage=stage,
            workers=workers,
            rate=(answered + failed) / elapsed_s,
            failed=failed / max(1, answered + failed),
            arrivals=sum(each.arrived for each in seconds) / elapsed_s,
            p99_ms=percentile(sum((each.took_ms for each in seconds), Counter[int]()), 0.99),
            ping_ms=self._ping_ms(oldest_ping_ms),
        )

    def point(self, workers: Sequence[Worker]) -> dict[str, Any]:
        """Return a point of each chart."""
        last = self._seconds[-1]
        return {
            "at": time.time(),
            "ping_ms": self._ping_ms(last.oldest_ping_ms),
            "arrivals": round(last.arrived / last.elapsed_s, 1),
            "answered": round((last.answered + last.failed) / last.elapsed_s, 1),
            "workers": {worker.number: self._of(worker) for worker in workers if worker.lives},
        }

    @property
    def _elapsed_s(self) -> float:
        return sum(each.elapsed_s for each in self._seconds) or 1.0

    @property
    def late_ms(self) -> float:
        """How late Locust sent a request that was due in these seconds."""
        return max((each.late_ms for each in self._seconds), default=0.0)

    def _of(self, worker: Worker) -> dict[str, Any]:
        answers = sum(each.served[worker.told["id"]] for each in self._seconds)
        stands = worker.state in {"frozen", "held"}
        return {
            "in_flight": worker.in_flight,
            "cpu_percent": worker.told["cpu_percent"],
            "loop_lag_ms": worker.for_ms if stands else worker.told["loop_lag_ms"]["last_second"],
            "answers": round(answers / self._elapsed_s, 1),
        }

    def _ping_ms(self, oldest_ms: float) -> float | None:
        pings = [ms for each in self._seconds for ms in each.pings_ms]
        return max(statistics.median(pings) if pings else 0.0, oldest_ms) or None
