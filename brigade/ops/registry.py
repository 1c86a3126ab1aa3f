"""Every live worker of every replica, through Redis.

A thread of each worker writes its state there, so that a worker whose event loop is frozen still says so. It also looks
after the other workers of its host: it writes for one whose process is stopped, and removes one whose process is gone.
A worker that is asked looks at these processes itself, so that the answer does not wait for the next write.
"""

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import ValidationError

from brigade.errors import CacheUnavailable
from brigade.ops.neighbours import Neighbours
from brigade.ops.workers import OwnState, WorkerState
from brigade.resources import Resources
from brigade.server.lifecycle import lifecycle
from brigade.stores import copies
from brigade.stores.redis_client import open_redis
from brigade.stores.redis_errors import REDIS_FAILURES
from brigade.tasks import FINISH_WITHIN_S, end, supervised

T = TypeVar("T")

PUBLISH_EVERY_S = 0.5
SIGN_EVERY_S = 1.0
FORGET_AFTER_MS = 4000
"""A worker on a host that is gone disappears within 5 s; seven writes may be late before a live one does."""
LEFT_FOR_MS = 1000
"""How long a worker that has left is still told as draining, so that who asks now and then does not take it for dead."""
TIMEOUT_S = 0.5


class Registry:
    def __init__(self, resources: Resources) -> None:
        self.own = OwnState(resources)
        self.resources = resources
        self._keys = resources.cache.keys
        self._key = self._keys.tagged("workers", self.own.id)
        self._index = self._keys.tagged("workers", "index")
        self._beats = itertools.count()
        self._neighbours = Neighbours(self.own.id, self.own.host)
        self._signed_s = 0.0
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._publish_until_left()), name="registry", daemon=True
        )
        self._left: Callable[[], object] | None = None

    async def __aenter__(self) -> "Registry":
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._left is not None:
            self._left()
        await asyncio.to_thread(self._thread.join, FINISH_WITHIN_S + 2 * TIMEOUT_S)

    async def workers(self) -> tuple[list[WorkerState], bool]:
        """Return the live workers, and whether these are all of them: without Redis it is this one alone."""
        own = self.own.read()
        try:
            values = await self.resources.cache.run(self._read_all)
        except CacheUnavailable:
            return [own], False
        told = _told(values)
        others = [self._neighbours.judge(state, beat) for _, beat, state in told if state.id != own.id]
        states = [own, *(state for state in others if state is not None)]
        return sorted(states, key=lambda state: (state.host, state.pid)), len(told) == len(values)

    async def _publish_until_left(self) -> None:
        """Run in the thread, on an event loop of its own."""
        left = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._left = lambda: loop.call_soon_threadsafe(left.set)
        assert self.resources.settings.redis_url is not None
        url = self.resources.settings.redis_url.get_secret_value()
        client = open_redis(
            url, connections=1, timeout_s=TIMEOUT_S, socket_timeout=TIMEOUT_S, client_name="service.registry"
        )
        task = supervised("registry", lambda: _translated(self._publish(client)), every_s=PUBLISH_EVERY_S)
        try:
            await left.wait()
            await end(task)
            with contextlib.suppress(*REDIS_FAILURES):
                if lifecycle.leaving:
                    await client.set(self._key, self._news(), px=LEFT_FOR_MS, xx=True)
                else:
                    await client.delete(self._key)
        finally:
            await client.aclose()

    async def _publish(self, client: Any) -> None:
        if self.resources.cache.is_foreign or lifecycle.rehearsing:
            return
        now_s = time.monotonic()
        if sign := now_s - self._signed_s >= SIGN_EVERY_S:
            self.own.measure_cpu()
        async with client.pipeline(transaction=False) as pipe:
            pipe.set(self._key, self._news(), px=FORGET_AFTER_MS)
            pipe.sadd(self._index, self._key)
            await pipe.execute()
        if sign:
            await copies.sign(client, self._keys)
            self._signed_s = now_s
        await self._look_after_neighbours(client)

    def _news(self) -> bytes:
        return _value(b"%d" % next(self._beats), self.own.read())

    async def _look_after_neighbours(self, client: Any) -> None:
        told = _told(await self._read_all(client))
        looked_s = time.monotonic()
        for key, beat, state in told:
            if not self._neighbours.is_other(state) or self._neighbours.hear(state, beat) >= looked_s:
                continue  # it has written since the last look
            now = self._neighbours.judge(state, beat)
            if now is None:
                await client.delete(key)
            elif now is not state:
                await client.set(key, _value(beat, now), px=FORGET_AFTER_MS, xx=True)
        self._neighbours.keep(state for _, _, state in told)

    async def _read_all(self, redis: Any) -> dict[bytes, bytes]:
        """Return what the workers have written, by their keys, and remove keys that Redis has dropped from the index."""
        keys = list(await redis.smembers(self._index))
        values = await redis.mget(keys) if keys else []
        if gone := [key for key, value in zip(keys, values, strict=True) if value is None]:
            await redis.srem(self._index, *gone)
        return {key: value for key, value in zip(keys, values, strict=True) if value is not None}


def _value(beat: bytes, state: WorkerState) -> bytes:
    """A worker counts its writes, so that another one that writes for it does not look like a sign of life."""
    return b"%b %b" % (beat, state.model_dump_json().encode())


def _told(values: dict[bytes, bytes]) -> list[tuple[bytes, bytes, WorkerState]]:
    """Return key, beat and state of each worker, without those of another version, which may run beside this one."""
    told = []
    for key, value in values.items():
        beat, _, state = value.partition(b" ")
        with contextlib.suppress(ValidationError):
            told.append((key, beat, WorkerState.model_validate_json(state)))
    return told


async def _translated(call: Awaitable[T]) -> T:
    """Await `call`. What Redis does not do now is an outage, and not an error of the task.

    Raises:
        CacheUnavailable: Redis did not answer, or refused.
    """
    try:
        return await call
    except REDIS_FAILURES as error:
        raise CacheUnavailable("Redis does not answer.") from error
