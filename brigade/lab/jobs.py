"""The lab's job: the same CPU work, done by a runner. It exists where a feature has jobs, as elsewhere there is no queue."""

from brigade.errors import Problem
from brigade.jobs import Job, JobRun, job, registered
from brigade.lab.deps import LabFull
from brigade.lab.work import spin
from brigade.stores.database import Pool, acquire

NAME = "lab.compute"
MOST_WAITING = 100
WAITING = "SELECT count(*) FROM pgqueuer WHERE entrypoint = $1"


class NoJobs(Problem):
    status, type, title = 404, "urn:problem:lab-no-jobs", "This service has no jobs"


async def compute(run: JobRun, iterations: int) -> None:
    await run.compute(spin, iterations)


def offer() -> None:
    """Register the lab's job for the runner, where a feature has registered one. Call it when all features have."""
    if registered:
        job()(compute)


def offered() -> Job | None:
    """Return the lab's job, or None where no feature has jobs."""
    return registered.get(NAME)


async def enqueue(pg: Pool, iterations: int) -> None:
    """Enqueue the work, if fewer than `MOST_WAITING` of the lab's jobs wait.

    Raises:
        NoJobs: No feature has jobs.
        LabFull: Too many wait.
    """
    if (own := offered()) is None:
        raise NoJobs("No feature has a jobs.py, so there is no queue and no runner.")
    async with acquire(pg) as connection, connection.transaction():
        if await connection.fetchval(WAITING, own.name) >= MOST_WAITING:
            raise LabFull(f"{MOST_WAITING} of its jobs wait for a runner.", retry_after_s=3)
        await own.enqueue(connection, iterations=iterations)
