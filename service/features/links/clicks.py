"""Counts clicks and brings them to Postgres, each exactly once: docs/decisions/0005. The only thing here that outlives a request.

Journal -> Redis by every worker for itself, and for workers that died; Redis -> Postgres by one worker at a time.
"""

import asyncio
import contextlib
import time
from types import TracebackType

import structlog

from brigade import Resources, Unavailable
from brigade.tasks import LogThrottle, end, supervised
from service.features.links import redis_clicks, store
from service.features.links.journal import Journal
from service.features.links.orphans import Orphan, UnreadableOrphan, take_orphan

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
        self.deployment = resources.settings.deployment_name
        self.moves = 0
        self.backlog = Backlog()
        self._sent_at = time.monotonic()
        self._throttle = LogThrottle()
        self._left_alone: set[str] = set()

    async def __aenter__(self) -> "Clicks":
        self.journal = await asyncio.to_thread(Journal, self.folder, deployment=self.deployment)
        self.count = self.journal.add
        jobs = {self._send: SEND_EVERY_S, self._move: MOVE_EVERY_S, self._adopt: ADOPT_EVERY_S}
        self._tasks = [supervised(f"links{job.__name__}", job, every_s=every_s) for job, every_s in jobs.items()]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end(*self._tasks)
        try:
            with contextlib.suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(STOP_WITHIN_S):
                    await self._send()
                    await self._move()
        finally:
            await asyncio.to_thread(self.journal.close)
            if self.journal.lost:
                log.error("clicks were lost", clicks=self.journal.lost)

    @property
    def pending(self) -> int:
        """Clicks that Redis has not confirmed."""
        return self.journal.pending

    @property
    def pending_s(self) -> float:
        """How long the oldest of them may have waited."""
        return time.monotonic() - self._sent_at if self.pending else 0.0

    @property
    def lost(self) -> int:
        return self.journal.lost

    @property
    def in_memory(self) -> bool:
        """Whether a kill would lose clicks, because the disk refuses them."""
        return self.journal.disk_error is not None

    async def _send(self) -> None:
        """Send the oldest batch until Redis has it; new clicks collect in one other batch meanwhile."""
        began, journal = time.monotonic(), self.journal
        if journal.active.total:
            journal.spare = await asyncio.to_thread(journal.renew, journal.take_spare())
            self._report_disk()
            if journal.sealed:
                await asyncio.to_thread(journal.grow_ahead)
            else:
                journal.seal()
        while journal.sealed:
            for sequence, clicks in journal.sealed[0].parts():
                await redis_clicks.add_clicks(self.cache, journal=journal.id, sequence=sequence, clicks=clicks)
            if (unwanted := journal.confirm()) is not None:
                await asyncio.to_thread(unwanted.discard)
        self._sent_at = began

    def _report_disk(self) -> None:
        error = self.journal.disk_error
        if error is not None and (left_out := self._throttle.admit("disk")) is not None:
            log.error(
                "clicks are kept in memory, because STATE_DIR cannot be written; a worker that is killed loses them",
                reason=str(error),
                left_out=left_out,
            )

    async def _adopt(self) -> None:
        while orphan := await self._find_orphan():
            try:
                await self._send_orphan(orphan)
            finally:
                orphan.release()

    async def _find_orphan(self) -> Orphan | None:
        """The next journal without an owner. One that cannot be read is logged once, and does not hide others."""
        while True:
            try:
                return await asyncio.to_thread(
                    take_orphan, self.folder, deployment=self.deployment, except_for=self._left_alone
                )
            except UnreadableOrphan as error:
                self._leave_alone(error.folder.name, error)

    def _leave_alone(self, journal: str, error: OSError) -> None:
        self._left_alone.add(journal)
        log.error("the clicks of a worker that died are left where they are", journal=journal, reason=str(error))

    async def _send_orphan(self, orphan: Orphan) -> None:
        journal = orphan.folder.name
        for sequence, clicks in orphan.batches.items():
            await redis_clicks.add_clicks(self.cache, journal=journal, sequence=sequence, clicks=clicks)
        try:
            await asyncio.to_thread(orphan.remove)
        except OSError as error:  # Redis remembers what it has, so another worker may send the clicks again
            self._leave_alone(journal, error)
        total = sum(sum(clicks.values()) for clicks in orphan.batches.values())
        log.warning("took over the clicks of a worker that died", journal=journal, clicks=total)

    async def _move(self) -> None:
        """Bring what waits in Redis to Postgres, a bounded batch at a time."""
        while True:
            taken = await redis_clicks.take_clicks(self.cache)
            self.backlog.see(taken.backlog, batch=taken.batch)
            if not taken.clicks:
                return
            await store.add_clicks(self.pg, batch=taken.batch, clicks=taken.clicks)
            await redis_clicks.forget_clicks(self.cache, taken.batch)
            self.moves += 1
            if self.moves % FORGET_EVERY_MOVES == 0:
                await store.forget_batches(self.pg)
            if taken.backlog <= len(taken.clicks):
                self.backlog.see(0, batch="")
                return


class Backlog:
    """How many links have clicks that wait in Redis, and for how long none of them has been moved."""

    def __init__(self) -> None:
        self.links = 0
        self._batch = ""
        self._since: float | None = None

    def see(self, links: int, *, batch: str) -> None:
        """Another batch than before means that some worker has moved the one before."""
        if not links:
            self._since = None
        elif self._since is None or batch != self._batch:
            self._since = time.monotonic()
        self.links, self._batch = links, batch

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._since if self._since is not None else 0.0
