"""One scrape of the metrics for all requests within a second: each reads the files of every worker, under a lock."""

import asyncio
import math

import anyio.to_thread

from brigade.telemetry.scrape import scrape

EVERY_S = 1.0


class Scrapes:
    def __init__(self) -> None:
        self._awaited: asyncio.Task[bytes] | None = None
        """The scrape that has not begun."""
        self._begun: asyncio.Task[bytes] | None = None
        self._began_s = -math.inf

    async def read(self) -> bytes:
        """Return a scrape that begins after this call, and at once if the last one began a second ago."""
        if self._awaited is None:
            self._awaited = asyncio.create_task(self._scrape(), name="scrape")
        return await asyncio.shield(self._awaited)

    async def _scrape(self) -> bytes:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._began_s + EVERY_S - loop.time()))
        self._awaited, self._begun = None, self._awaited
        self._began_s = loop.time()
        return await anyio.to_thread.run_sync(scrape)
