"""Postgres as the features see it: every wait bounded, a lost connection asked once more where that is safe.

Holds no SQL. A server that is away is a 503 within the second in which a caller is owed one.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from brigade.errors import ConnectionLost, DatabaseUnavailable
from brigade.stores.breaker import Breaker
from brigade.telemetry import metrics
from brigade.telemetry.metrics import PoolStats
from brigade.telemetry.tracing import note

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
QUEUE_S = 0.4
"""Whoever would wait longer than this for a connection, going by how long they are held lately, is refused at once: to
refuse him when `ACQUIRE_TIMEOUT_S` is over costs as much as an answer, and in a crowd leaves the time for none.
"""

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
