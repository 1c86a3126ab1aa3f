"""Redis as the features see it: behind a breaker, every wait bounded, and a connection of its own for the hot path.

Names no key. What to do without Redis is for its users to decide.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from hiredis import pack_command
from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import ClusterDownError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.breaker import Breaker
from service.errors import CacheUnavailable
from service.metrics import redis_calls, redis_failures
from service.tracing import note

T = TypeVar("T")

CACHE_FAILURES = (
    OSError,
    TimeoutError,
    RedisConnectionError,
    RedisTimeoutError,
    ReadOnlyError,
    OutOfMemoryError,
    ClusterDownError,  # no master, for now
)
MAY_PASS = ("MISCONF", "BUSY ", "NOREPLICAS")
"""Answers that say: not now. The disk is full, a script runs, too few replicas are there."""


class Line:
    """A connection outside the pool, for one caller at a time. 32 keys cost 19 µs of CPU here, and 74 by way of the client,
    its pool, its retries and a timer for each step.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._connection: Any = pool.make_connection()  # type: ignore[no-untyped-call]
        self._timeout_s = self._connection.socket_timeout
        self._connection.socket_timeout = None  # one timer for the whole exchange
        self.busy = False

    async def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """After a failure, a cancellation too, redis-py closes it: an answer that nobody waited for is never the next's."""
        self.busy = True
        command = pack_command(("MGET", *keys))  # type: ignore[arg-type]
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._connection.is_connected:
                    with suppress(RedisConnectionError):  # closed while idle
                        return await self._exchange(command)
                return await self._exchange(command)
        finally:
            self.busy = False

    async def _exchange(self, command: bytes) -> list[bytes | None]:
        await self._connection.send_packed_command(command, check_health=False)
        values: list[bytes | None] = await self._connection.read_response()
        return values

    async def close(self) -> None:
        await self._connection.disconnect()


class Cache:
    """Redis, asked through a breaker. Its users must be able to go on without it, or say so with the 503 it raises."""

    def __init__(self, client: Redis, breaker: Breaker, line: Line | None = None) -> None:
        self.redis = client
        self.breaker = breaker
        self.line = line

    async def run(self, call: Callable[[Redis], Awaitable[T]]) -> T:
        """Await `call(redis)`.

        Raises:
            CacheUnavailable: Redis did not answer, or did not lately and is left alone for a moment.
        """
        if not self.breaker.allows():
            raise CacheUnavailable("Redis did not answer lately.")
        began_s = time.perf_counter()
        try:
            result = await call(self.redis)
        except CACHE_FAILURES as error:
            self.breaker.failed()
            redis_failures.total += 1
            if isinstance(error, ReadOnlyError):
                await self._leave_replica()
            raise CacheUnavailable("Redis does not answer.") from error
        except ResponseError as error:
            if not str(error).startswith(MAY_PASS):
                raise
            raise CacheUnavailable(f"Redis cannot do it now: {error}") from error
        finally:
            redis_calls.add(note("redis", began_s, span="redis", attributes={"db.system.name": "redis"}))
        self.breaker.succeeded()
        return result

    async def _leave_replica(self) -> None:
        """A fail-over left us at what was the master: a new connection finds the one that is."""
        await self.redis.connection_pool.disconnect(inuse_connections=False)
        if self.line is not None and not self.line.busy:
            await self.line.close()

    async def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """By the line, if there is one and nobody else is on it.

        Raises:
            CacheUnavailable: as `run`.
        """
        way: Any = self.redis if self.line is None or self.line.busy else self.line
        return await self.run(lambda _: way.mget(keys))
