"""Many waiters, one call: what is asked for while a call is under way, or in the same turn of the loop, goes together.

It knows nothing of Redis or SQL: it groups keys and hands them to the function it was given.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, TypeVar

from brigade.errors import Unavailable
from brigade.telemetry.tracing import spent

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Coalescer(Generic[K, V]):
    """Groups `get(key)` calls into `fetch_many(keys)`.

    At most `max_calls` calls run at once, so batches grow with the load. A failing call fails only those who waited
    for it, and a cancelled waiter disturbs no other. With `join_in_flight` a key also joins a call that has already
    been sent: one query for a stampede, at the price of an answer as old as that call.
    """

    def __init__(
        self,
        fetch_many: Callable[[list[K]], Awaitable[Mapping[K, V]]],
        *,
        max_batch: int = 256,
        max_waiting: int = 10_000,
        max_calls: int = 1,
        join_in_flight: bool = False,
    ) -> None:
        self.fetch_many = fetch_many
        self.max_batch = max_batch
        self.max_waiting = max_waiting
        self.max_calls = max_calls
        self.join_in_flight = join_in_flight
        self._waiting: dict[K, list[asyncio.Future[V | None]]] = {}
        self._in_flight: dict[K, list[asyncio.Future[V | None]]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._futures = 0

    def get(self, key: K) -> asyncio.Future[V | None]:
        """None where `fetch_many` did not return the key.

        Raises:
            Unavailable: `max_waiting` others wait already.
        """
        if self._futures >= self.max_waiting:
            raise Unavailable(f"{self._futures} lookups wait already.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[V | None] = loop.create_future()
        self._futures += 1
        if self.join_in_flight and key in self._in_flight:
            self._in_flight[key].append(future)
            return future
        if key in self._waiting:
            self._waiting[key].append(future)
        else:
            self._waiting[key] = [future]
            self._schedule(loop)
        return future

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting and not self._scheduled and len(self._calls) < self.max_calls:
            self._scheduled = True
            loop.call_soon(self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        if len(self._waiting) <= self.max_batch:
            batch, self._waiting = self._waiting, {}
        else:
            batch = {key: self._waiting.pop(key) for key in list(self._waiting)[: self.max_batch]}
        if self.join_in_flight:
            self._in_flight.update(batch)
        call = loop.create_task(self._call(batch))
        self._calls.add(call)
        call.add_done_callback(self._ended)
        self._schedule(loop)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._schedule(call.get_loop())

    async def _call(self, batch: dict[K, list[asyncio.Future[V | None]]]) -> None:
        spent.set(None)  # of the request that came first; each notes the time it waits
        try:
            found = await self.fetch_many(list(batch))
        except BaseException as error:
            self._forget(batch)
            for future in _still_waiting(batch):
                # The waiters must get the error, of any kind; a cancellation is not theirs.
                future.set_exception(
                    error if isinstance(error, Exception) else Unavailable("The lookup was cancelled.")
                )
            if not isinstance(error, Exception):
                raise
        else:
            self._forget(batch)
            for key, futures in batch.items():
                value = found.get(key)
                for future in futures:
                    if not future.done():
                        future.set_result(value)

    def _forget(self, batch: dict[K, list[asyncio.Future[V | None]]]) -> None:
        self._futures -= sum(map(len, batch.values()))
        if self.join_in_flight:
            for key in batch:
                del self._in_flight[key]


def _still_waiting(batch: dict[K, list[asyncio.Future[V]]]) -> list[asyncio.Future[V]]:
    return [future for futures in batch.values() for future in futures if not future.done()]
