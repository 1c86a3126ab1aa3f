"""Postgres as the features see it: every wait is bounded, and a read whose connection was lost is asked once more.

Holds no SQL of a feature. While the server is away, a caller gets a 503 within the second.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from brigade.deadline import Clock, Deadline
from brigade.errors import ConnectionLost, DatabaseUnavailable
from brigade.stores.breaker import Breaker
from brigade.stores.postgres_errors import POSTGRES_FAILURES, Meaning, has_lost_statements, meaning_of
from brigade.stores.postgres_session import leaving_session_clean
from brigade.stores.refusals import note_refusal
from brigade.stores.schema import schema
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
"""Seconds to wait for a connection: less than the second in which a caller gets its 503."""
ANSWER_WITHIN_S = 0.9
"""Seconds for all that a short request wants of Postgres, unless it says otherwise. A silent server gives no other sign."""
REPLICA_WITHIN_S = 0.4
"""Seconds for the replica, so that half of the time is left for the primary."""
QUEUE_S = 0.4
"""Fail fast if the expected wait for a connection exceeds this. Rejecting a caller after it has waited costs as much as
serving it, and in a crowd leaves the time for nobody."""


@asynccontextmanager
async def acquire(
    pool: Pool,
    stats: PoolStats = metrics.postgres,
    *,
    within_s: float | None = ANSWER_WITHIN_S,
    leaves_session_clean: bool = False,
) -> AsyncIterator[Connection]:
    """Lend a connection for a block that may take `within_s` in all, the wait for the connection included.

    The session is reset when it is given back, which is a round trip. A block that changes nothing in the session (no
    SET, LISTEN, advisory lock, temporary table or cursor) may say `leaves_session_clean=True` to save it. With
    `within_s=None` only the wait for the connection is bounded.

    Raises:
        DatabaseUnavailable: no connection came free, the server refused, or it did not answer in time.
        ConnectionLost: the server closed the connection while it was in use.
        SchemaBehind: the database lacks a migration of this code, so that a statement does not fit it.
    """
    began_s = time.perf_counter()
    connection = await _take(pool, stats, within_s)
    deadline = asyncio.timeout(within_s and within_s - (time.perf_counter() - began_s))
    began_s = time.perf_counter()
    try:
        async with deadline:
            yield connection
    except POSTGRES_FAILURES as error:
        session_ended = _has_ended(connection)
        unavailable = _unavailable(error, session_ended=session_ended)
        if deadline.expired():
            if not session_ended:
                connection.terminate()  # rather than wait until the server has cancelled the statement
            raise DatabaseUnavailable(f"No answer came in time: {within_s} s, by `within_s` of `acquire`.") from error
        if has_lost_statements(error):
            note_refusal("postgres", "StatementsLost", error)
            connection.terminate()
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            await pool.expire_connections()  # the others lead to the same server
        if unavailable := unavailable or await schema.explain(error, connection):
            raise unavailable from error
        raise
    finally:
        stats.held_s += 0.1 * (note("postgres", began_s) - stats.held_s)
        # A server that hangs also keeps the cancelled statement from ending; asyncpg then drops the connection, and
        # its own TimeoutError must not take the place of ours.
        with suppress(*POSTGRES_FAILURES), leaving_session_clean(leaves_session_clean):
            await pool.release(connection, timeout=ACQUIRE_TIMEOUT_S)


async def _take(pool: Pool, stats: PoolStats, within_s: float | None) -> Connection:
    """Wait for a connection. No statement of the caller has run, so whatever fails here means that there is none."""
    began_s = time.perf_counter()
    if stats.waiting * stats.held_s > QUEUE_S * pool.get_max_size():
        stats.failed(exhausted=True)
        raise DatabaseUnavailable(f"{stats.waiting} wait for a connection already.")
    stats.waiting += 1
    try:
        connection = await pool.acquire(timeout=min(ACQUIRE_TIMEOUT_S, within_s or ACQUIRE_TIMEOUT_S))
    except POSTGRES_FAILURES as error:
        stats.failed(exhausted=isinstance(error, TimeoutError) and pool.get_size() == pool.get_max_size())
        if isinstance(error, TimeoutError):
            raise DatabaseUnavailable("No connection came free in time.") from error
        if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
            note_refusal("postgres", type(error).__name__, error)
        raise DatabaseUnavailable("The connection was lost or refused.") from error
    finally:
        stats.waiting -= 1
        stats.acquired.add(note("queue", began_s))
    stats.up = True
    return connection


def _has_ended(connection: Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # asyncpg has taken it back, which it does with one that was closed
        return True


def _unavailable(error: Exception, *, session_ended: bool) -> DatabaseUnavailable | None:
    """Return the error to raise for a failure of the server, or None for a mistake of the caller, which is raised as it is."""
    match meaning_of(error, session_ended=session_ended):
        case Meaning.LOST:
            return ConnectionLost("The connection was lost.")
        case Meaning.NOT_NOW:
            late = isinstance(error, TimeoutError | asyncpg.QueryCanceledError)
            return DatabaseUnavailable("No answer came in time." if late else "The database cannot do it now.")
        case Meaning.REFUSED:
            note_refusal("postgres", type(error).__name__, error)
            return DatabaseUnavailable("The database refuses it.")
        case Meaning.MISTAKE:
            return None


async def read(
    pool: Pool,
    call: Callable[[Connection], Awaitable[T]],
    *,
    within_s: float = ANSWER_WITHIN_S,
    leaves_session_clean: bool = False,
) -> T:
    """Await `call(connection)`, which writes nothing. If the connection is lost, it is called once more, on another.

    Raises: as `acquire`.
    """
    until_s = time.perf_counter() + within_s
    try:
        async with acquire(pool, within_s=within_s, leaves_session_clean=leaves_session_clean) as connection:
            return await call(connection)
    except ConnectionLost:  # idle ones are found closed only when they are used
        left_s = until_s - time.perf_counter()
        async with acquire(pool, within_s=left_s, leaves_session_clean=leaves_session_clean) as connection:
            return await call(connection)


_lookups = Clock()


async def in_time(lookup: Awaitable[T]) -> T:
    """Await `lookup`, also where it waits behind others, for no longer than a short request may take.

    Raises:
        DatabaseUnavailable: it found nothing in time.
    """
    try:
        with Deadline(_lookups, ANSWER_WITHIN_S):
            return await lookup
    except TimeoutError:
        raise DatabaseUnavailable("No answer came in time.") from None


class Replica:
    """A Postgres that may be behind, busy or away: whatever it does not answer is asked of the primary."""

    def __init__(self, pool: Pool, breaker: Breaker) -> None:
        self.pool = pool
        self.breaker = breaker

    async def run(self, call: Callable[[Connection], Awaitable[T]], *, leaves_session_clean: bool = False) -> T | None:
        """None if the replica did not answer, or did not lately and is left alone for a moment."""
        if not self.breaker.allows():
            return None
        try:
            async with acquire(
                self.pool, metrics.replica, within_s=REPLICA_WITHIN_S, leaves_session_clean=leaves_session_clean
            ) as connection:
                result = await call(connection)
        except (DatabaseUnavailable, asyncpg.PostgresError):  # it may be a version of the schema behind
            self.breaker.failed()
            return None
        self.breaker.succeeded()
        return result
