"""Counts clicks and brings them to Postgres, each exactly once: docs/decisions/0005. The only thing here that outlives a request.

Journal -> Redis by every worker for itself, and for workers that died; Redis -> Postgres by one worker at a time.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from types import TracebackType

import structlog

from brigade.errors import Unavailable
from brigade.resources import Resources
from brigade.tasks import end
from service.features.links import cache, store
from service.features.links.journal import Batch, Journal, Orphan, take_orphan

SEND_EVERY_S = 0.1
MOVE_EVERY_S = 0.5
ADOPT_EVERY_S = 1.0
STOP_WITHIN_S = 3.0
FORGET_EVERY_MOVES = 1000

log = structlog.get_logger("service.links.clicks")


class Clicks:
    def __init__(self, resources: Resources) -> None:
        self.pg = resources.pg
        self.cache = resources.cache
        self.folder = resources.settings.state_dir / "clicks"
        self.moves = 0
        self._sent_at = time.monotonic()

    async def __aenter__(self) -> "Clicks":
        self.journal = await asyncio.to_thread(Journal, self.folder)
        self.count = self.journal.add
        jobs = {self._send: SEND_EVERY_S, self._move: MOVE_EVERY_S, self._adopt: ADOPT_EVERY_S}
        self._tasks = [asyncio.create_task(_repeat(job, every_s), name=job.__name__) for job, every_s in jobs.items()]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end(*self._tasks)
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(STOP_WITHIN_S):
                await self._send()
                await self._move()
        await asyncio.to_thread(self.journal.close)

    @property
    def pending(self) -> int:
        """Clicks that Redis has not confirmed."""
        return self.journal.pending

    @property
    def pending_s(self) -> float:
        """How long the oldest of them may have waited."""
        return time.monotonic() - self._sent_at if self.pending else 0.0

    async def _send(self) -> None:
        """A batch that got no answer goes again as it is, and new clicks collect behind it."""
        began = time.monotonic()
        journal = self.journal
        if journal.active.total:
            await asyncio.to_thread(journal.prepare)
            journal.seal()
        while journal.sealed:
            batch: Batch = journal.sealed[0]
            await cache.add_clicks(self.cache, journal=journal.id, sequence=batch.sequence, clicks=batch.clicks())
            journal.sealed.remove(batch)
            await asyncio.to_thread(batch.path.unlink)
        self._sent_at = began

    async def _adopt(self) -> None:
        while orphan := await asyncio.to_thread(take_orphan, self.folder):
            try:
                await self._send_orphan(orphan)
            finally:
                orphan.release()

    async def _send_orphan(self, orphan: Orphan) -> None:
        journal = orphan.folder.name
        for sequence, clicks in orphan.batches.items():
            await cache.add_clicks(self.cache, journal=journal, sequence=sequence, clicks=clicks)
        await asyncio.to_thread(orphan.remove)
        total = sum(sum(clicks.values()) for clicks in orphan.batches.values())
        log.warning("took over the clicks of a worker that died", journal=journal, clicks=total)

    async def _move(self) -> None:
        taken = await cache.take_clicks(self.cache)
        if taken is None:
            return
        batch, clicks = taken
        await store.add_clicks(self.pg, batch=batch, clicks=clicks)
        await cache.forget_clicks(self.cache, batch)
        self.moves += 1
        if self.moves % FORGET_EVERY_MOVES == 0:
            await store.forget_batches(self.pg)


async def _repeat(job: Callable[[], Awaitable[None]], every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await job()
        except Unavailable:
            continue  # whatever was on its way stays where it was
        except Exception:
            log.exception("clicks stay where they are for now", job=getattr(job, "__name__", ""))
