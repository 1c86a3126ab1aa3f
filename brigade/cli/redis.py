"""Asks Redis, before the service relies on it. Writes nothing to it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import redis.asyncio as redis
from redis.exceptions import ResponseError

from brigade.cli.patience import ATTEMPT_S, PATIENCE_S, check_files, patiently
from brigade.settings import ConfigurationError, Settings
from brigade.settings.redis_url import read_redis_url
from brigade.stores.redis_client import AnyRedis, open_redis

T = TypeVar("T")


async def ask_redis(client: AnyRedis) -> dict[str, dict[str, Any]]:
    """Return the answers to INFO by server, of each primary of a cluster, or nothing if INFO is forbidden."""
    try:
        if isinstance(client, redis.RedisCluster):
            return dict(await client.info(target_nodes=redis.RedisCluster.PRIMARIES))
        return {"": dict(await client.info())}
    except ResponseError:
        return {}


async def with_redis(
    ask: Callable[[AnyRedis], Awaitable[T]], settings: Settings, *, name: str, patience_s: float = PATIENCE_S
) -> T:
    """Return the result of `ask` for a client that has connected.

    Raises: as `session`.
    """
    if settings.redis_url is None:
        raise ConfigurationError("REDIS_URL is not set: give it a Redis or Valkey, redis://host:port/0.")
    dsn = settings.redis_url.get_secret_value()

    async def attempt() -> T:
        client = open_redis(dsn, connections=1, timeout_s=ATTEMPT_S, socket_timeout=ATTEMPT_S, client_name=name)
        try:
            await client.ping()
            return await ask(client)
        finally:
            await client.aclose()

    read = read_redis_url(dsn)
    check_files("REDIS_URL", read.files)
    server = f"REDIS_URL: Redis{_at(read.nodes)}"
    return await patiently(attempt, server=server, patience_s=patience_s)


def _at(servers: Sequence[tuple[str, int]]) -> str:
    return f" at {', '.join(f'{host}:{port}' for host, port in servers)}" if servers else ""
