"""The share of a window in which a generator process ran, and the share in which it could run and had no core."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from proof.prove.window import Tally, Use


@asynccontextmanager
async def metered(tally: Tally, begin: float, end: float) -> AsyncIterator[None]:
    """Notes what share of the window this process computed, or wanted to."""
    before: list[tuple[float, float]] = []
    timer = asyncio.get_running_loop().call_later(max(0, begin - time.monotonic()), lambda: before.append(_use_s()))
    yield
    timer.cancel()
    cpu_s, starved_s = (now - then for now, then in zip(_use_s(), before[0] if before else _use_s(), strict=True))
    tally.use = Use(cpu=cpu_s / (end - begin), starved=starved_s / (end - begin))


def _use_s() -> tuple[float, float]:
    try:
        starved_ns = int(Path("/proc/thread-self/schedstat").read_text().split()[1])
    except OSError:  # not Linux
        starved_ns = 0
    return time.process_time(), starved_ns / 1e9
