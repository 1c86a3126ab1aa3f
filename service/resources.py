"""Opens what a worker needs for its whole life: the Postgres pool, Redis behind a breaker, the CPU lane.

In order, and closed in reverse, by one exit stack. Nothing is opened at import, and nothing before the fork.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.to_thread
import asyncpg
from pydantic import SecretStr
from redis.asyncio import Redis

from service import metrics, tracing
from service.breaker import Breaker
from service.cache import Cache, Line, Lines
from service.errors import ConnectionLost, DatabaseUnavailable
from service.lanes import CpuLane
from service.loop_watch import LoopWatch
from service.metrics import PoolStats, WorkerStats
from service.postgres_client import connect
from service.redis_client import open_redis
from service.settings import ConfigurationError, Settings
from service.sizing import Plan, session_options
from service.tracing import note

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
else:
    Pool, Connection = asyncpg.Pool, asyncpg.pool.PoolConnectionProxy

T = TypeVar("T")

ACQUIRE_TIMEOUT_S = 0.8
"""Under the second in which a caller is owed a 503; asyncpg's own methods wait for a connection without end."""
ANSWER_WITHIN_S = 0.9
"""Likewise, for all that a request of few milliseconds wants of Postgres: a server that is silent says so by nothing else."""
REPLICA_WITHIN_S = 0.4
"""So that of the time that is owed, the primary still has the other half."""
CONNECT_TIMEOUT_S = 0.7
QUEUE_S = 0.4
"""Whoever would wait longer than this for a connection, going by how long they are held lately, is refused at once: to
refuse him when `ACQUIRE_TIMEOUT_S` is over costs as much as an answer, and in a crowd leaves the time for none.
"""
REDIS_TIMEOUT_S = 0.3
"""A Redis in the same zone answers in 1 ms; past this, Postgres is the faster way to the same answer."""
CLOSE_TIMEOUT_S = 1.0

DATABASE_FAILURES = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a session that the server ended at the very moment of its next statement
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,  # shutdown, crash, statement timeout
    asyncpg.exceptions.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.exceptions.ReadOnlySQLTransactionError,  # a fail-over left us at a replica
)
LOST = (
    ConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)


@asynccontextmanager
async def acquire(
    pool: Pool, stats: PoolStats = metrics.postgres, *, within_s: float | None = None
) -> AsyncIterator[Connection]:
    """A connection, waited for no longer than `ACQUIRE_TIMEOUT_S`; all in all it takes `within_s`, if that is given.

    Raises:
        DatabaseUnavailable: no connection came free, or the server fell silent while it was in use.
        ConnectionLost: the server closed it while it was in use.
    """
    began_s = time.perf_counter()
    if stats.waiting * stats.held_s > QUEUE_S * pool.get_max_size():
        stats.failed(exhausted=True)
        raise DatabaseUnavailable(f"{stats.waiting} wait for a connection already.")
    stats.waiting += 1
    try:
        connection = await pool.acquire(timeout=min(ACQUIRE_TIMEOUT_S, within_s or ACQUIRE_TIMEOUT_S))
        stats.up = True
    except DATABASE_FAILURES as error:
        stats.failed(exhausted=isinstance(error, TimeoutError) and pool.get_size() == pool.get_max_size())
        raise DatabaseUnavailable(_reason(error, late="connection came free")) from error
    finally:
        stats.waiting -= 1
        stats.acquired.add(note("queue", began_s))
    deadline = asyncio.timeout(within_s and within_s - (time.perf_counter() - began_s))
    began_s = time.perf_counter()
    try:
        async with deadline:
            yield connection
    except DATABASE_FAILURES as error:
        if deadline.expired():
            connection.terminate()  # rather than wait until the server has cancelled the statement
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            await pool.expire_connections()  # the others lead to the same server
        unavailable = ConnectionLost if isinstance(error, LOST) else DatabaseUnavailable
        raise unavailable(_reason(error, late="answer came")) from error
    finally:
        stats.held_s += 0.1 * (note("postgres", began_s) - stats.held_s)
        # A server that hangs also keeps the cancelled statement from ending; asyncpg then drops the connection, and
        # its own TimeoutError must not take the place of ours.
        with suppress(*DATABASE_FAILURES):
            await pool.release(connection, timeout=ACQUIRE_TIMEOUT_S)


async def read(pool: Pool, call: Callable[[Connection], Awaitable[T]], *, within_s: float) -> T:
    """What `call` finds, which writes nothing: where the server closes the connection, it is called once more, on another.

    Raises: as `acquire`.
    """
    until_s = time.perf_counter() + within_s
    try:
        async with acquire(pool, within_s=within_s) as connection:
            return await call(connection)
    except ConnectionLost:  # idle ones are found closed only when they are used
        async with acquire(pool, within_s=until_s - time.perf_counter()) as connection:
            return await call(connection)


async def in_time(lookup: Awaitable[T]) -> T:
    """What it finds, also where it waits behind others: all in all no longer than they may take.

    Raises:
        DatabaseUnavailable: it found nothing in time.
    """
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            return await lookup
    except TimeoutError:
        raise DatabaseUnavailable("No answer came in time.") from None


def _reason(error: BaseException, *, late: str) -> str:
    return f"No {late} in time." if isinstance(error, TimeoutError) else "The connection was lost or refused."


class Replica:
    """A Postgres that may be behind, busy or away: whatever it does not answer is asked of the primary."""

    def __init__(self, pool: Pool, breaker: Breaker) -> None:
        self.pool = pool
        self.breaker = breaker

    async def run(self, call: Callable[[Connection], Awaitable[T]]) -> T | None:
        """None where it did not answer, or did not lately and is left alone for a moment."""
        if not self.breaker.allows():
            return None
        try:
            async with acquire(self.pool, metrics.replica, within_s=REPLICA_WITHIN_S) as connection:
                result = await call(connection)
        except (DatabaseUnavailable, asyncpg.PostgresError):  # replaying may cancel a statement
            self.breaker.failed()
            return None
        self.breaker.succeeded()
        return result


@dataclass(frozen=True)
class Resources:
    settings: Settings
    plan: Plan
    stats: WorkerStats
    loop_watch: LoopWatch
    lane: CpuLane
    pg: Pool
    replica: Replica | None
    cache: Cache


@asynccontextmanager
async def open_resources(settings: Settings, plan: Plan, stats: WorkerStats) -> AsyncIterator[Resources]:
    """Open everything without waiting for a server: a worker that starts while Postgres is away serves what it can."""
    async with AsyncExitStack() as stack:
        watch = LoopWatch(blocked_ms=settings.loop_blocked_ms, killed_after_s=settings.worker_timeout_s)
        await stack.enter_async_context(watch)
        anyio.to_thread.current_default_thread_limiter().total_tokens = plan.threadpool_tokens
        lane = CpuLane(threads=plan.cpu_lane_threads, queue=plan.cpu_lane_queue, processes=settings.cpu_lane_processes)
        pg = await stack.enter_async_context(_postgres(settings, plan))
        replica = await stack.enter_async_context(_replica(settings, plan))
        cache = await stack.enter_async_context(_redis(settings, plan))
        yield Resources(settings, plan, stats, watch, lane, pg, replica, cache)


@asynccontextmanager
async def _postgres(settings: Settings, plan: Plan) -> AsyncIterator[Pool]:
    if settings.database_url is None:
        raise ConfigurationError(
            "DATABASE_URL is not set: give it a Postgres, as postgresql://user:password@host:port/database."
        )
    async with _pool(settings.database_url, settings, plan, timeout_s=plan.statement_timeout_s + 1) as pool:
        yield pool


@asynccontextmanager
async def _replica(settings: Settings, plan: Plan) -> AsyncIterator[Replica | None]:
    """It has as many connections for us as the primary: a standby may not have fewer. What takes long is soon given up."""
    if settings.database_read_url is None:
        yield None
        return
    async with _pool(settings.database_read_url, settings, plan, timeout_s=ACQUIRE_TIMEOUT_S) as pool:
        yield Replica(pool, Breaker(backend="postgres replica"))


@asynccontextmanager
async def _pool(url: SecretStr, settings: Settings, plan: Plan, *, timeout_s: float) -> AsyncIterator[Pool]:
    pool = asyncpg.create_pool(
        url.get_secret_value(),
        connect=connect,
        min_size=0,  # opened when first needed: no worker opens its whole share at boot, or fails to boot without Postgres
        max_size=plan.db_pool,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=timeout_s,
        statement_cache_size=0 if settings.database_pooled else 100,
        reset=_no_reset,
        init=_trace if tracing.is_on() else None,
        server_settings={"application_name": f"service.worker.{os.getpid()}", **session_options(settings)},
    )
    await pool
    try:
        yield pool
    finally:
        try:
            # close() waits for every connection to be released, without end.
            await asyncio.wait_for(pool.close(), CLOSE_TIMEOUT_S)
        except DATABASE_FAILURES:
            pool.terminate()


async def _trace(connection: asyncpg.Connection) -> None:
    connection.add_query_logger(tracing.note_sql)


async def _no_reset(_: Any) -> None:
    """asyncpg resets a session at each release: a round trip, 366 against 214 µs a query. No statement of ours leaves
    anything behind in the session (no SET, LISTEN, advisory lock or cursor); a test holds that."""


@asynccontextmanager
async def _redis(settings: Settings, plan: Plan) -> AsyncIterator[Cache]:
    if settings.redis_url is None:
        raise ConfigurationError("REDIS_URL is not set: give it a Redis or Valkey, as redis://host:port/0.")
    client = open_redis(
        settings.redis_url.get_secret_value(),
        connections=plan.redis_connections,
        timeout_s=REDIS_TIMEOUT_S,
        socket_timeout=REDIS_TIMEOUT_S,
        client_name=f"service.worker.{os.getpid()}",
    )
    if isinstance(client, Redis):
        line: Line | Lines = Line(client.connection_pool.make_connection())  # type: ignore[no-untyped-call]
    else:
        line = Lines(client)
    try:
        yield Cache(client, Breaker(), line)
    finally:
        await line.close()
        await client.aclose()
