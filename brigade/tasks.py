"""The end of what runs in the background of a lifespan."""

import asyncio
from typing import Any

AGAIN_S = 0.1


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel, and wait until each has ended. A cancellation may be lost: now and then one was that came while redis-py
    opened a connection, and a worker told to stop right after its start then hung until it was killed.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_S)
