"""Redis as the features see it: behind a breaker, every wait bounded, and a connection of its own for the hot path.

Names no key. What to do without Redis is for its users to decide.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import RedisCluster
from redis.exceptions import (
    AskError,
    ClusterError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from brigade.errors import CacheUnavailable
from brigade.stores.breaker import Breaker
from brigade.stores.redis_client import AnyRedis, run_all
from brigade.stores.redis_line import Line, Lines
from brigade.telemetry.metrics import redis_calls, redis_failures
from brigade.telemetry.tracing import note

T = TypeVar("T")

CACHE_FAILURES = (
    OSError, TimeoutError, RedisConnectionError, RedisTimeoutError, ReadOnlyError, OutOfMemoryError,
    RedisClusterException, ClusterError, AskError, TryAgainError,  # a cluster whose slots are on the move
)  # fmt: skip
MAY_PASS = ("MISCONF", "BUSY ", "NOREPLICAS")
"""Answers that say: not now. The disk is full, a script runs, too few replicas are there."""


class Cache:
    """Redis, asked through a breaker. Its users must be able to go on without it, or say so with the 503 it raises."""

    def __init__(self, client: AnyRedis, breaker: Breaker, line: Line | Lines | None = None) -> None:
        self.redis = client
        self.breaker = breaker
        self.line = line

    async def run(self, call: Callable[[Any], Awaitable[T]]) -> T:
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
        if isinstance(self.redis, RedisCluster):
            await self.redis.aclose()  # it opens again, and looks around, when it is next asked
        else:
            await self.redis.connection_pool.disconnect(inuse_connections=False)
        if self.line is not None and not self.line.busy:
            await self.line.close()

    async def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """By the line, if there is one and nobody else is on it.

        Raises:
            CacheUnavailable: as `run`.
        """
        way: Any = self.line
        if way is not None and not way.busy:
            return await self.run(lambda _: way.mget(keys))
        if isinstance(self.redis, RedisCluster):
            return await self.run_all([("GET", key) for key in keys])
        return await self.run(lambda redis: redis.mget(keys))

    def together(self, keys: Sequence[str]) -> list[list[int]]:
        """Which of `keys`, by their places, one command may name: all of them, or those of one slot of a cluster."""
        if not isinstance(self.redis, RedisCluster):
            return [list(range(len(keys)))]
        slots: dict[int, list[int]] = {}
        for place, key in enumerate(keys):
            slots.setdefault(self.redis.keyslot(key), []).append(place)
        return list(slots.values())

    async def run_all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """In one round trip to each server that has to do with them; by the line, as `mget`, where there is one server.

        Raises:
            CacheUnavailable: as `run`.
        """
        line = self.line
        if isinstance(line, Line) and not line.busy:
            return await self.run(lambda _: line.run_all(commands))
        return await self.run(lambda redis: run_all(redis, commands))
