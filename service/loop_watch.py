"""How late the event loop turns: the one number that says whether somebody blocks it."""

import asyncio
import contextlib
import time
from collections import deque
from types import TracebackType

INTERVAL_S = 0.05
WINDOW = round(10 / INTERVAL_S)


class LoopWatch:
    """Sleeps `INTERVAL_S` at a time and notes how much later it woke; p50, p99 and max over the last ten seconds."""

    def __init__(self, *, blocked_ms: int) -> None:
        self.blocked_ms = blocked_ms
        self._lags_ms: deque[float] = deque(maxlen=WINDOW)

    async def __aenter__(self) -> "LoopWatch":
        self._task = asyncio.create_task(self._measure(), name="loop-watch")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _measure(self) -> None:
        while True:
            due = time.perf_counter() + INTERVAL_S  # uvloop's own clock counts whole milliseconds
            await asyncio.sleep(INTERVAL_S)
            self._lags_ms.append(max(0.0, (time.perf_counter() - due) * 1000))

    def lag_ms(self) -> dict[str, float]:
        lags = sorted(self._lags_ms) or [0.0]
        at = {"p50": len(lags) // 2, "p99": len(lags) * 99 // 100, "max": len(lags) - 1}
        return {name: round(lags[index], 3) for name, index in at.items()}
