"""Redis as the features see it: behind a breaker, every wait bounded, and a connection of its own for the hot path.

Names no key itself: `keys` makes those that its users name. What to do without Redis is for its users to decide.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import RedisCluster
from redis.exceptions import AuthenticationError, ReadOnlyError, ResponseError

from brigade.errors import CacheUnavailable
from brigade.stores.breaker import Breaker
from brigade.stores.keys import Keys
from brigade.stores.redis_client import AnyRedis, read_each, run_all
from brigade.stores.redis_errors import KNOWN_REFUSALS, NO_ANSWER, REDIS_FAILURES, code_of, is_mistake
from brigade.stores.redis_line import Line, Lines
from brigade.stores.refusals import note_refusal
from brigade.telemetry.metrics import redis_calls, redis_failures
from brigade.telemetry.tracing import note

T = TypeVar("T")


UNNAMED = Keys("brigade")


class Cache:
    """Redis, asked through a breaker. Its users must be able to work without it, or say so with the 503 it raises."""

    def __init__(
        self, client: AnyRedis, breaker: Breaker, line: Line | Lines | None = None, *, keys: Keys = UNNAMED
    ) -> None:
        self.redis = client
        self.breaker = breaker
        self.line = line
        self.keys = keys
        self.key_prefix = keys.prefix
        self.is_foreign = False
        """The keys of this name belong to another database, so nothing here may be read or written."""

    async def run(self, call: Callable[[Any], Awaitable[T]]) -> T:
        """Await `call(redis)`.

        Raises:
            CacheUnavailable: Redis did not answer, refused, or did not answer lately and is left alone for a moment.
        """
        if self.is_foreign:
            raise CacheUnavailable("Redis belongs to another deployment.")
        return await self.ask(call)

    async def ask(self, call: Callable[[Any], Awaitable[T]]) -> T:
        """Do the same as `run`, also if the keys belong to another deployment. This serves to ask whose they are."""
        if not self.breaker.allows():
            raise CacheUnavailable("Redis did not answer lately.")
        began_s = time.perf_counter()
        try:
            result = await call(self.redis)
        except REDIS_FAILURES as error:
            if is_mistake(error):
                raise
            raise await self._unavailable(error) from error
        finally:
            redis_calls.add(note("redis", began_s, span="redis", attributes={"db.system.name": "redis"}))
        self.breaker.succeeded()
        return result

    async def _unavailable(self, error: Exception) -> CacheUnavailable:
        """Count the failure. A refusal is an answer, so it does not open the breaker: other commands may be allowed."""
        if isinstance(error, ResponseError | AuthenticationError):
            code = code_of(error)
            note_refusal("redis", code, error, expected=code in KNOWN_REFUSALS or isinstance(error, NO_ANSWER))
        if not isinstance(error, NO_ANSWER):
            return CacheUnavailable("Redis refuses what is asked of it.")
        self.breaker.failed()
        redis_failures.total += 1
        if isinstance(error, ReadOnlyError):
            await self._leave_replica()
        return CacheUnavailable("Redis does not answer.")

    async def _leave_replica(self) -> None:
        """Let new connections find the primary: after a fail-over the old ones lead to what is now a replica."""
        if isinstance(self.redis, RedisCluster):
            await self.redis.aclose()  # it opens again, and looks around, when it is next asked
        else:
            await self.redis.connection_pool.disconnect(inuse_connections=False)
        if self.line is not None:
            self.line.expire()

    async def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read the values over the line, if there is one and nobody else uses it. A key of another type has none.

        Raises:
            CacheUnavailable: as `run`.
        """
        line: Any = self.line
        if line is not None and not line.busy:
            return await self.run(lambda _: line.mget(keys))
        if isinstance(self.redis, RedisCluster):
            return await self.run(lambda redis: read_each(redis, keys))
        return await self.run(lambda redis: redis.mget(keys))

    def together(self, keys: Sequence[str]) -> list[list[int]]:
        """Group the positions of `keys` that one command may name: all of them, or those of one slot of a cluster."""
        if not isinstance(self.redis, RedisCluster):
            return [list(range(len(keys)))]
        slots: dict[int, list[int]] = {}
        for place, key in enumerate(keys):
            slots.setdefault(self.redis.keyslot(key), []).append(place)
        return list(slots.values())

    async def run_all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run the commands in one round trip to each server that they concern; over the line where there is one server.

        Raises:
            CacheUnavailable: as `run`.
        """
        line = self.line
        if isinstance(line, Line) and not line.busy:
            return await self.run(lambda _: line.run_all(commands))
        return await self.run(lambda redis: run_all(redis, commands))
