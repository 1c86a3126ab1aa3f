"""The runner: takes jobs from Postgres, does them, and stops in order. This and `schedules` alone import PgQueuer.

PgQueuer locks, beats and times; here is what it lacks: a crash counts as an attempt, and a stop gives jobs back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import orjson
import structlog
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.core.sm import SchedulerManager
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.domain.models import Job as Row

from brigade.cancellation import must_end
from brigade.errors import SchemaBehind
from brigade.jobs import Job, JobRun, registered, rows
from brigade.jobs.depths import Depths
from brigade.jobs.failures import AttemptFailed
from brigade.jobs.schedules import add_schedule
from brigade.resources import Resources
from brigade.stores.postgres_errors import POSTGRES_FAILURES
from brigade.stores.schema import schema
from brigade.tasks import end, supervised
from brigade.telemetry import tracing
from brigade.telemetry.metrics import counter, histogram

LOOK_EVERY_S = 2.0
"""Seconds after which the queue is read although no notification came, as behind a pooler none does."""
HEARTBEAT_TIMEOUT_S = 10.0
"""Seconds without a heartbeat after which a job is taken from its runner."""
AGAIN_S = 0.5
DEPTH_EVERY_S = 5.0
TIDY_EVERY_S = 3600.0
BUCKETS_S = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0)

log = structlog.get_logger("service.jobs")

DONE = counter("jobs_done", "Jobs done.", ["name"])
FAILED = counter("jobs_failed", "Attempts at jobs that failed.", ["name"])
DEAD = counter("jobs_dead", "Jobs given up after their last attempt.", ["name"])
DURATION = histogram("job_duration_seconds", "Attempts at jobs, the failed ones included.", ["name"], buckets=BUCKETS_S)


class Runner:
    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self._stopping = False
        self._attempts: set[asyncio.Task[None]] = set()
        queries = Queries(AsyncpgPoolDriver(resources.pg))
        self._queue = QueueManager(queries)
        self._clock = SchedulerManager(queries)
        for job in registered.values():
            self._queue.entrypoint(job.name, on_failure="hold", accepts_context=False)(partial(self._attempt, job))
            if job.schedule is not None:
                add_schedule(self._clock, job, job.schedule, resources.pg)
            for series in (DONE, FAILED, DEAD):
                series.labels(job.name)  # exported as 0 from the start, so that an alert sees the first

    async def run(self) -> None:
        """Do jobs until `stop`.

        Raises: whatever ended the work, such as an outage of Postgres. The jobs under way have ended then.
        """
        at_once = self.resources.settings.jobs_concurrency
        queue = self._queue.run(
            dequeue_timeout=timedelta(seconds=LOOK_EVERY_S),
            batch_size=at_once // 2,  # PgQueuer wants room for two batches
            max_concurrent_tasks=at_once,
            heartbeat_timeout=timedelta(seconds=HEARTBEAT_TIMEOUT_S),
        )
        looks = supervised("job depth", Depths(self.resources.pg).measure, every_s=DEPTH_EVERY_S)
        tidies = supervised("job log", self._tidy, every_s=TIDY_EVERY_S)
        try:
            await _all_or_none(queue, self._clock.run(), on_failure=self._tell_to_stop)
        finally:
            await end(looks, tidies)

    async def _tidy(self) -> None:
        await self.resources.pg.execute(rows.FORGET)
        for key, schedule in self._clock.registry.items():
            await self.resources.pg.execute(rows.RESCHEDULE, key.expression, key.entrypoint, schedule.next_in())

    async def stop(self, *, within_s: float) -> None:
        """Take no more jobs, let those under way end for `within_s`, and give the others back to the queue."""
        self._tell_to_stop()
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=within_s)
        self._stopping = True
        for attempt in self._attempts:
            attempt.cancel()

    def _tell_to_stop(self) -> None:
        self._queue.shutdown.set()
        self._clock.shutdown.set()

    async def _attempt(self, job: Job, row: Row) -> None:
        """One attempt. PgQueuer deletes the row on return, keeps it as failed on an exception, or queues it again."""
        number: int | None = await self._patiently(rows.START, row.id)
        if number is None:
            return  # another runner has done it
        if number > job.attempts:
            DEAD.labels(job.name).inc()
            raise RuntimeError(f"The runner ended in each of {job.attempts} attempts.")
        run = JobRun(row.id, number, self.resources)
        task = asyncio.create_task(self._call(job, run, row))
        self._attempts.add(task)
        task.add_done_callback(self._attempts.discard)
        try:
            await task
        except BaseException as error:
            if self._stopping and task.cancelling():  # whatever the job has made of it
                await self._patiently(rows.UNSTART, row.id)
                log.info("job given back", job=job.name, job_id=row.id)
                raise RetryRequested(reason="The runner stopped.") from None
            if must_end(error):
                raise
            await self._until_postgres_is_well()
            failure = self._failed(job, run, error)
            raise RetryRequested(delay=timedelta(seconds=job.pause_s(number)), reason=str(failure)) from None
        DONE.labels(job.name).inc()

    async def _patiently(self, statement: str, *values: object) -> Any:
        """Ask Postgres until it answers. PgQueuer takes a job that it cannot queue again for one that is dead."""
        while True:
            try:
                return await self.resources.pg.fetchval(statement, *values)
            except POSTGRES_FAILURES:
                if self._stopping:
                    raise
                await asyncio.sleep(AGAIN_S)

    async def _until_postgres_is_well(self) -> None:
        """Wait until Postgres answers and has every migration: an attempt that failed for want of one is not the job's fault."""
        while True:
            try:
                async with self.resources.pg.acquire() as connection:
                    await schema.check(connection)
                    return
            except (*POSTGRES_FAILURES, SchemaBehind):
                if self._stopping:
                    raise RetryRequested(reason="The runner stopped.") from None
                await asyncio.sleep(AGAIN_S)

    async def _call(self, job: Job, run: JobRun, row: Row) -> None:
        headers: dict[str, Any] = row.headers or {}
        with tracing.continued(headers.get("trace") or {}, f"job {job.name}"), DURATION.labels(job.name).time():
            log.info("job started", job=job.name, job_id=run.id, attempt=run.attempt)
            try:
                await job.function(run, **orjson.loads(row.payload or b"{}"))
            except BaseException as error:
                if isinstance(error, Exception) or must_end(error):
                    raise
                raise AttemptFailed.by(error) from error  # `sys.exit()` would end the runner, and every job under way
            log.info("job done", job=job.name, job_id=run.id, attempt=run.attempt)

    def _failed(self, job: Job, run: JobRun, error: BaseException) -> AttemptFailed:
        """Log a failed attempt, and return what is kept of it. If it was the last one, raise that."""
        FAILED.labels(job.name).inc()
        is_last = run.attempt >= job.attempts
        log.error(
            "job is dead" if is_last else "job failed",
            job=job.name, job_id=run.id, attempt=run.attempt, exc_info=error,
        )  # fmt: skip
        failure = AttemptFailed.by(error)
        if is_last:
            DEAD.labels(job.name).inc()
            raise failure from None
        return failure


async def _all_or_none(*calls: Awaitable[None], on_failure: Callable[[], None]) -> None:
    """Await all; when one fails, tell the others, which end in order, and raise what it raised."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    on_failure()
    if rest:
        await asyncio.wait(rest)
    failures = [
        task.exception() for task in (*done, *rest) if not task.cancelled()
    ]  # each is asked, or asyncio logs it
    for failure in filter(None, failures):
        raise failure
