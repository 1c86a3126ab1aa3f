"""Redis as the features see it: behind a breaker, every wait bounded, and a connection of its own for the hot path.

Names no key. What to do without Redis is for its users to decide.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from hiredis import pack_command
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

from service.breaker import Breaker
from service.errors import CacheUnavailable
from service.metrics import redis_calls, redis_failures
from service.redis_client import AnyRedis
from service.tracing import note

T = TypeVar("T")

CACHE_FAILURES = (
    OSError, TimeoutError, RedisConnectionError, RedisTimeoutError, ReadOnlyError, OutOfMemoryError,
    RedisClusterException, ClusterError, AskError, TryAgainError,  # a cluster whose slots are on the move
)  # fmt: skip
MAY_PASS = ("MISCONF", "BUSY ", "NOREPLICAS")
"""Answers that say: not now. The disk is full, a script runs, too few replicas are there."""


class Line:
    """A connection outside the pool, for one caller at a time. 32 keys cost 19 µs of CPU here, and 74 by way of the client,
    its pool, its retries and a timer for each step.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._timeout_s = connection.socket_timeout
        connection.socket_timeout = None  # one timer for the whole exchange
        self.busy = False

    async def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        (values,) = await self.run_all([("MGET", *keys)])
        return values  # type: ignore[no-any-return]

    async def run_all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """They may be sent twice, as the client's may, if the connection was closed."""
        return await self.exchange(b"".join(map(pack_command, commands)), answers=len(commands))

    async def exchange(self, commands: bytes, *, answers: int) -> list[Any]:
        """After a failure, a cancellation too, redis-py closes it: an answer that nobody waited for is never the next's."""
        self.busy = True
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._connection.is_connected:
                    with suppress(RedisConnectionError):  # closed while idle
                        return await self._exchange(commands, answers)
                return await self._exchange(commands, answers)
        finally:
            self.busy = False

    async def _exchange(self, commands: bytes, answers: int) -> list[Any]:
        if not self._connection.is_connected:
            await self._connection.connect()  # by way of the Sentinels, which sending would not ask
        await self._connection.send_packed_command(commands, check_health=False)
        try:
            return [await self._connection.read_response() for _ in range(answers)]
        except ResponseError:
            await self.close()  # others may follow it
            raise

    async def close(self) -> None:
        await self._connection.disconnect()


class Lines:
    """A line to each server of a cluster: one command a key, as a command may name the keys of one slot alone."""

    def __init__(self, client: RedisCluster) -> None:
        self._client = client
        self._lines: dict[str, Line] = {}
        self.busy = False

    async def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """A server that has gone, or has a slot no more, is left to the client, which looks for its successor."""
        self.busy = True
        try:
            await self._client.initialize()
            return await self._ask_all(keys)
        except (AskError, ClusterError, TryAgainError, OSError, RedisConnectionError):
            return await run_all(self._client, [("GET", key) for key in keys])
        finally:
            self.busy = False

    async def _ask_all(self, keys: Sequence[str]) -> list[bytes | None]:
        servers: dict[str, list[int]] = {}
        for place, key in enumerate(keys):
            node: Any = self._client.nodes_manager.get_node_from_slot(self._client.keyslot(key))
            servers.setdefault(node.name, []).append(place)
            if node.name not in self._lines:
                self._lines[node.name] = Line(node.connection_class(**node.connection_kwargs))
        values: list[bytes | None] = [None] * len(keys)

        async def ask(name: str, places: list[int]) -> None:
            commands = b"".join(pack_command(("GET", keys[place])) for place in places)  # type: ignore[arg-type]
            for place, value in zip(
                places, await self._lines[name].exchange(commands, answers=len(places)), strict=True
            ):
                values[place] = value

        asked = await asyncio.gather(*(ask(name, places) for name, places in servers.items()), return_exceptions=True)
        for failure in filter(None, asked):  # once nobody is on a line any more
            raise failure
        return values

    async def close(self) -> None:
        for line in self._lines.values():
            await line.close()


async def run_all(redis: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """In one round trip to each server that has to do with them."""
    if len(commands) == 1:
        return [await redis.execute_command(*commands[0])]
    async with redis.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        answers: list[Any] = await pipe.execute()
        return answers


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
