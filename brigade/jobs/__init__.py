"""Jobs: work that outlives its request. A feature declares them with `@job` in its `jobs.py`, and enqueues them.

A job is a row of the database, so it is committed or rolled back with what it belongs to. docs/jobs.md is for users; only
the runner, `python -m service work`, imports the library behind it.
"""

import inspect
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson

from brigade.jobs import rows
from brigade.jobs.rows import JobState
from brigade.stores.database import Connection, Pool, read
from brigade.telemetry import tracing

if TYPE_CHECKING:
    from brigade.resources import Resources

__all__ = ["Job", "JobQueue", "JobRun", "JobState", "job", "registered"]

PROGRESS_EVERY_S = 0.5
MOST_PAUSE_S = 3600.0
MOST_DOUBLINGS = 60
"""Each pause is `MOST_PAUSE_S` by then, and a float cannot be doubled without end."""

registered: dict[str, "Job"] = {}
"""Every job of the service, by its name."""


@dataclass
class JobRun:
    """One attempt at a job: what its function is given."""

    id: int
    attempt: int
    """1 for the first. An attempt that a crash ended counts too."""
    resources: "Resources"
    _written_s: float = field(default=0, repr=False)

    @property
    def pg(self) -> Pool:
        return self.resources.pg

    async def compute(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        """Run a plain function of a module in a process of its own, so that neither the loop nor another job waits for it."""
        return await self.resources.lane.run(function, *arguments)

    async def progress(self, done: int, of: int) -> None:
        """Record how far the job is. A call soon after the last one costs nothing."""
        if done < of and time.monotonic() - self._written_s < PROGRESS_EVERY_S:
            return
        self._written_s = time.monotonic()
        await self.pg.execute(rows.NOTE, self.id, orjson.dumps({"done": done, "of": of}).decode())


Function = Callable[..., Awaitable[None]]


@dataclass(frozen=True)
class Job:
    function: Function
    name: str
    attempts: int
    backoff_s: float
    schedule: str | None

    def pause_s(self, attempt: int) -> float:
        """Seconds before the attempt after this one: twice as many each time, for at most an hour."""
        return min(self.backoff_s * 2.0 ** min(attempt - 1, MOST_DOUBLINGS), MOST_PAUSE_S)

    async def enqueue(
        self, connection: Connection, *, key: str | None = None, delay_s: float = 0, **arguments: Any
    ) -> int:
        """Enqueue this job in the transaction that `connection` is in, and return its id.

        While a job with the same `key` waits or runs, nothing is added, and the id is that job's. The arguments go to the
        function, as JSON.
        """
        headers = orjson.dumps({"trace": tracing.carried()}).decode()
        job_id: int = await connection.fetchval(
            rows.ENQUEUE,
            self.name,
            orjson.dumps(arguments),
            timedelta(seconds=delay_s),
            f"{self.name} {key}" if key is not None else None,
            headers,
        )
        return job_id


def job(*, attempts: int = 5, backoff_s: float = 2, schedule: str | None = None) -> Callable[[Function], Job]:
    """Make a job of an `async def` function that takes a `JobRun` and what it was enqueued with, by name.

    It is done at least once, so doing it twice must do no harm. An attempt that raises is followed by another, after
    `backoff_s`, and twice that, and so on; after `attempts` of them the job is kept as dead, for a person to look at.
    With a `schedule`, five fields as of cron and in UTC, it is also enqueued at those times, without arguments.
    """

    if attempts < 1:
        raise ValueError(f"A job has at least one attempt, and not {attempts}.")

    def register(function: Function) -> Job:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"{function.__qualname__} is not async: compute with `await run.compute(function, ...)`")
        feature = function.__module__.removesuffix(".jobs").rpartition(".")[2]
        name = f"{feature}.{function.__name__}"
        if name in registered and registered[name].function.__module__ != function.__module__:
            raise TypeError(f"Two jobs have the name {name}.")
        registered[name] = Job(function, name, attempts, backoff_s, schedule)
        return registered[name]

    return register


class JobQueue:
    """The questions about jobs that a route can ask."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def look(self, job_id: int) -> JobState | None:
        """Return how far a job is, or None once it is done.

        Raises:
            DatabaseUnavailable: Postgres did not answer.
        """
        row = await read(
            self._pool, lambda connection: connection.fetchrow(rows.LOOK, job_id), leaves_session_clean=True
        )
        return rows.state_of(row) if row else None
