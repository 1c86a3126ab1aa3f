"""A client for whatever `REDIS_URL` names. It connects when it is first asked."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ResponseError

from brigade.settings.redis_url import read_redis_url

AnyRedis = Redis | RedisCluster
Ask = Callable[..., Awaitable[Any]]

CLUSTER_CONNECTIONS = 16
"""How many times the connections of a single server a cluster may have: its client does not wait for a free one."""


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connects to the server that the Sentinels call the primary; they are asked again for each new connection."""

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


def open_redis(url: str, *, connections: int, timeout_s: float, **options: Any) -> AnyRedis:
    """Return a client that has not connected yet. A call that waits longer than `timeout_s` for it gets an error."""
    place = read_redis_url(url)
    # One more try for a connection that was closed while idle; a slow answer is not asked for again.
    retry = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    options = {"socket_connect_timeout": timeout_s, "retry": retry, **place.options, **options}
    if place.kind == "cluster":
        nodes = [ClusterNode(*node) for node in place.nodes]
        return RedisCluster(startup_nodes=nodes, max_connections=connections * CLUSTER_CONNECTIONS, **options)
    options |= {"max_connections": connections, "timeout": timeout_s, "redis_connect_func": _greet}
    if place.kind == "server":
        return Redis.from_pool(BlockingConnectionPool.from_url(url, **options))
    asking = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        **place.sentinel_options,
        "retry": Retry(NoBackoff(), 0),  # by default it would ask one that is away for seconds
    }
    sentinel = Sentinel(place.nodes, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    return Redis.from_pool(_SentinelPool(place.service, sentinel, **options))  # type: ignore[no-untyped-call]


async def _greet(connection: Any) -> None:
    """Let a user who may not name connections (CLIENT SETNAME) do without: the name is for people who look."""
    try:
        await connection.on_connect()
    except NoPermissionError as refused:
        if connection.client_name is None or "'client" not in str(refused):
            raise
        connection.client_name = None
        await connection.on_connect()


@asynccontextmanager
async def one_connection(client: AnyRedis, key: str) -> AsyncIterator[Ask]:
    """Lend a connection to the server that has `key`, for several commands; answers come as that server gives them."""
    if isinstance(client, RedisCluster):
        await client.initialize()
        node = client.get_node_from_key(key)
        assert node
        connection = node.acquire_connection()
        try:
            yield partial(_ask, connection)
        finally:
            node.release(connection)
    else:
        connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            yield partial(_ask, connection)
        finally:
            await client.connection_pool.release(connection)


async def _ask(connection: Any, *command: Any) -> Any:
    await connection.send_command(*command)
    return await connection.read_response()


async def run_all(redis: Any, commands: Sequence[tuple[Any, ...]], *, raise_on_error: bool = True) -> list[Any]:
    """Run the commands in one round trip to each server that they concern. Errors raise, or are among the answers."""
    if len(commands) == 1 and raise_on_error:
        return [await redis.execute_command(*commands[0])]
    async with redis.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        answers: list[Any] = await pipe.execute(raise_on_error=raise_on_error)
        return answers


async def read_each(redis: Any, keys: Sequence[str]) -> list[bytes | None]:
    """Read keys by a command each, because a command may name the keys of one slot of a cluster only."""
    answers = await run_all(redis, [("GET", key) for key in keys], raise_on_error=False)
    return [value_of(answer) for answer in answers]


def value_of(answer: Any) -> Any:
    """Return the answer to one command of several, or nothing if the key holds another type, as MGET does.

    Raises:
        RedisError: any other error.
    """
    if isinstance(answer, ResponseError) and "WRONGTYPE" in str(answer):
        return None
    if isinstance(answer, Exception):
        raise answer
    return answer
