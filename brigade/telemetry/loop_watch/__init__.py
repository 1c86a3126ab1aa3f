"""How late the event loop turns: a histogram for always, percentiles of the last ten seconds, and a watchdog beside it.

Always on and hardly felt. It looks at the loop from outside and touches no request.
"""

import asyncio
import gc
import sys
import time
from bisect import bisect_left
from collections import deque

from brigade.telemetry.loop_watch.causes import Turn
from brigade.telemetry.loop_watch.stacks import is_layer
from brigade.telemetry.loop_watch.watchdog import Watchdog

INTERVAL_S = 0.04
INTERVALS_OF_A_BLOCK = 10
"""A block that begins between two turns seems shorter by up to an interval, so one of 110 ms must not look like one of 80."""

STARTED_AFTER_S = 2.0
"""When a server that does not say that it serves is taken to do so."""

WINDOW_S = 10.0
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


is_layer(__file__)


class LoopWatch:
    """Asks the loop for a turn every `INTERVAL_S` and notes how much later than due it came."""

    def __init__(self, *, blocked_ms: int, killed_after_s: float = 30.0) -> None:
        self.blocked_s = blocked_ms / 1000
        self.interval_s = min(INTERVAL_S, self.blocked_s / INTERVALS_OF_A_BLOCK)
        self.lags_ms: deque[float] = deque(maxlen=round(WINDOW_S / self.interval_s))
        self.lag_sum_s = 0.0
        self.lag_buckets = [0] * (len(BUCKETS_S) + 1)
        """Turns as late as each of `BUCKETS_S` and no less than the one before it; the last is for all later ones."""
        self.gc_s = 0.0
        self.watchdog = Watchdog(blocked_s=self.blocked_s, killed_after_s=killed_after_s, gc_s=lambda: self.gc_s)

    async def __aenter__(self) -> "LoopWatch":
        self._loop = asyncio.get_running_loop()
        self._gc_began = 0.0
        self.watching = False
        gc.callbacks.append(self._on_gc)
        self._timer: asyncio.Handle = self._loop.call_later(STARTED_AFTER_S, self._begin)
        return self

    def watch(self) -> None:
        """Watch from the next turn on. Called when the worker begins to serve, because its start may block the loop."""
        if not self.watching:
            self._timer.cancel()
            self._timer = self._loop.call_soon(self._begin)

    async def __aexit__(self, *_: object) -> None:
        self._timer.cancel()
        gc.callbacks.remove(self._on_gc)
        self.watchdog.stop()

    def _begin(self) -> None:
        self.watching = True
        caller = sys._getframe().f_back
        self.watchdog.start(loop_code=caller and caller.f_code)
        self.watchdog.due_s = time.perf_counter() + self.interval_s  # uvloop's own clock counts whole milliseconds
        self._timer = self._loop.call_later(self.interval_s, self._turn)

    def _turn(self) -> None:
        now_s = time.perf_counter()
        due_s = self.watchdog.due_s
        late_s = max(0.0, now_s - due_s)
        self.lag_sum_s += late_s
        self.lag_buckets[bisect_left(BUCKETS_S, late_s)] += 1
        self.lags_ms.append(late_s * 1000)
        if late_s >= self.blocked_s:
            self.watchdog.late.put(Turn(due_s, now_s))
        self.watchdog.due_s = now_s + self.interval_s
        self._timer = self._loop.call_later(self.interval_s, self._turn)

    def _on_gc(self, phase: str, info: dict[str, int]) -> None:
        """Younger generations are collected many times a second, and none of them takes long."""
        if info["generation"] == 2:
            now_s = time.perf_counter()
            if phase == "start":
                self._gc_began = now_s
            else:
                self.gc_s += now_s - self._gc_began

    def lag_ms(self) -> dict[str, float]:
        lags = sorted(self.lags_ms) or [0.0]
        at = {"p50": len(lags) // 2, "p99": len(lags) * 99 // 100, "max": len(lags) - 1}
        percentiles = {name: round(lags[index], 3) for name, index in at.items()}
        return {**percentiles, "last_second": round(self._worst_ms(within_s=1.0), 3)}

    def _worst_ms(self, *, within_s: float) -> float:
        """Return how late the loop was at most in the last seconds; a turn that is due by now counts, too."""
        now_s, due_s = time.perf_counter(), self.watchdog.due_s
        worst_ms, came_s = max(0.0, (now_s - due_s) * 1000), due_s - self.interval_s
        for late_ms in reversed(list(self.lags_ms)):
            if came_s < now_s - within_s:
                break
            worst_ms = max(worst_ms, late_ms)
            came_s -= self.interval_s + late_ms / 1000
        return worst_ms
