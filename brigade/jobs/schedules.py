"""Enqueues the jobs that have a schedule, at its times."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

from pgqueuer.core.sm import SchedulerManager

from brigade.errors import DatabaseUnavailable
from brigade.jobs import Job
from brigade.settings import ConfigurationError
from brigade.stores.database import Pool, acquire
from brigade.stores.postgres_errors import POSTGRES_FAILURES

FIELDS = 5
AGAIN_S = 0.5


def add_schedule(clock: SchedulerManager, job: Job, schedule: str, pool: Pool) -> None:
    """Let `clock` enqueue the job. PgQueuer would read a sixth field too, as seconds.

    Raises:
        ConfigurationError: The schedule cannot be read.
    """
    refused = ConfigurationError(f"The schedule of {job.name} is not five fields as of cron: {schedule!r}.")
    if len(schedule.split()) > FIELDS:
        raise refused
    try:
        clock.schedule(job.name, schedule)(partial(_enqueue, clock, job, pool))
    except ValueError:
        raise refused from None


async def _enqueue(clock: SchedulerManager, job: Job, pool: Pool, _: Any) -> None:
    """The schedule's job is one like any other. While the last one is not done, there is no other.

    PgQueuer has set the next time already, so what fails is tried again, or this time would be left out.
    """
    while not clock.shutdown.is_set():
        with suppress(DatabaseUnavailable, *POSTGRES_FAILURES):
            async with acquire(pool) as connection:
                await job.enqueue(connection, key="schedule")
                return
        await asyncio.sleep(AGAIN_S)
