"""The lab's data in Redis: something to wait for, and what the workers do while somebody watches."""

import asyncio
import time
from functools import partial
from typing import Any
from uuid import uuid4

from brigade.errors import CacheUnavailable
from brigade.resources import CONNECT_TIMEOUT_S, Resources
from brigade.stores.redis_client import open_redis, run_all
from brigade.stores.redis_errors import REDIS_FAILURES

KEPT_EVENTS, KEPT_MS = 2000, 10_000
"""A browser that reconnects within seconds misses nothing, and nothing is left when nobody looks."""
WATCHED_MS = 3000
EVENTS_A_READ = 200
WAITERS = 64
"""Connections of one worker for waiting, apart from the eight that the service's own calls share."""


class LabCache:
    def __init__(self, resources: Resources) -> None:
        self.cache = resources.cache
        self._tagged = partial(resources.cache.keys.tagged, "lab")
        self._events, self._watched = self._tagged("events"), self._tagged("watched")
        assert resources.settings.redis_url is not None
        url = resources.settings.redis_url.get_secret_value()
        self._waiters: Any = open_redis(url, connections=WAITERS, timeout_s=CONNECT_TIMEOUT_S)

    async def aclose(self) -> None:
        await self._waiters.aclose()

    async def wait(self, ms: int) -> None:
        """Wait for a value that arrives after `ms`. The server's own timeouts are too coarse: a tenth of a second.

        Raises:
            CacheUnavailable: Redis did not answer, or all connections for waiting are taken.
        """
        key = self._tagged("wait", uuid4().hex)
        try:
            async with asyncio.timeout(ms / 1000 + CONNECT_TIMEOUT_S * 2):
                await asyncio.gather(self._waiters.blpop([key], timeout=ms / 1000 + 1), self._give_later(key, ms))
        except REDIS_FAILURES as error:
            raise CacheUnavailable("Redis does not answer, or too many wait for it.") from error

    async def _give_later(self, key: str, ms: int) -> None:
        await asyncio.sleep(ms / 1000)
        await self.cache.run(lambda client: run_all(client, [("RPUSH", key, "1"), ("PEXPIRE", key, KEPT_MS)]))

    async def is_watched(self) -> bool:
        return bool(await self.cache.run(lambda client: client.exists(self._watched)))

    async def publish(self, event: str) -> bool:
        """Whether anybody still watches."""
        commands = [
            ("XADD", self._events, "MAXLEN", "~", KEPT_EVENTS, "*", "event", event),
            ("PEXPIRE", self._events, KEPT_MS),
            ("EXISTS", self._watched),
        ]
        *_, watched = await self.cache.run(lambda client: run_all(client, commands))
        return bool(watched)

    async def watch(self, after: str) -> list[tuple[str, str]]:
        """Tell the workers that somebody watches; what they did since the event `after`, as ids and events."""
        commands = [
            ("SET", self._watched, "1", "PX", WATCHED_MS),
            ("XRANGE", self._events, f"({after}", "+", "COUNT", EVENTS_A_READ),
        ]
        _, entries = await self.cache.run(lambda client: run_all(client, commands))
        return [(identifier.decode(), fields[b"event"].decode()) for identifier, fields in entries]


def recently(s: float) -> str:
    """The id of an event of `s` seconds ago."""
    return f"{int((time.time() - s) * 1000)}-0"
