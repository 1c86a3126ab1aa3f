"""Accepts client connections in turn with the other workers, so that each has about as many as the next.

Left to the kernel, the worker that happens to be awake accepts them (one of 8 workers had 37 of 100 connections for as
long as they lasted). A worker that has more than its share leaves the next ones to the others for a moment. This reads no
HTTP.
"""

import asyncio
import logging
import math
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from ssl import SSLContext
from typing import Any

from brigade.server.lifecycle import Row, lifecycle, roster

LEAVE_S, LEAVE_MOST_S = 0.025, 0.05
"""How long to leave new connections to the other workers, per connection above our share. What is still queued after that
we accept anyway, so that a hung worker delays nobody.

A loop whose beat is later than that is kept busy, and accepts all that is queued: it would come back to it only in a later
one of its long turns, and the other workers may be as busy. Pings to two blocked workers took 1.6 s instead of 0.7.
"""
BEAT_S = 0.1
ALIVE_S = 0.5
"""A worker whose last beat is older is blocked, and does not count in the mean."""

TOLERANCE, SLACK = 1.05, 1
"""Keep accepting up to 5 % plus one connection above the mean, because the other workers may be about to accept too."""
MOST_PER_ITERATION = 100
"""Connections accepted in one iteration of the event loop. libuv accepts one, and a health check waited 7 s for its turn."""
SHED_ABOVE, SHED_SHARE = 1.25, 0.1
"""A worker with a quarter more than the mean asks clients to connect again, a tenth of the surplus in each beat. After a
worker has died its successor has none, and the others have all.
"""
RETRY_S = 0.1
"""Seconds until a listener that could not be opened is tried again: the process may have had no descriptor left."""

log = logging.getLogger("gunicorn.error")


class Acceptor:
    """`alone`: no other worker has the same listeners. `ssl` and `backlog` are those of `loop.create_server`."""

    def __init__(
        self, create: Callable[[], asyncio.Protocol], *, slot: int, alone: bool, ssl: SSLContext | None, backlog: int
    ) -> None:
        self._create = create
        self._row = roster[slot]
        self._slot = slot
        self._alone = alone
        self._ssl = ssl
        self._backlog = backlog
        self._listeners: list[socket.socket] = []
        self._servers: dict[socket.socket, asyncio.AbstractServer] = {}
        self._opening: asyncio.Task[None] | None = None
        self._others: list[Row] = []
        self._is_late = False
        self._joining: set[asyncio.Task[Any]] = set()

    async def start(self, listeners: Iterable[socket.socket]) -> None:
        self._loop = asyncio.get_running_loop()
        self._listeners = list(listeners)
        self._beat()
        await self._open()

    async def stop(self) -> None:
        """Accept what the kernel has connected already, then close: the last to close would reset those connections."""
        self._timer.cancel()
        listeners, self._listeners = self._listeners, []  # so that none is opened again
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        self._close()
        for listener in listeners:
            self._accept_pending(listener, self._backlog)
            listener.close()  # before anything is awaited, as more would come meanwhile
        await asyncio.gather(*self._joining, return_exceptions=True)
        self._row.last_beat = 0

    async def _open(self) -> None:
        """Open every listener that is closed, however long that takes: nothing else would."""
        complained = False
        while closed := [listener for listener in self._listeners if listener not in self._servers]:
            try:
                self._servers[closed[0]] = await self._serve(closed[0])
            except OSError as error:
                if not complained:
                    log.error("No new connections are accepted, until this passes: %s.", error)  # noqa: TRY400
                complained = True
                await asyncio.sleep(RETRY_S)
        if complained:
            log.warning("New connections are accepted again.")

    async def _serve(self, listener: socket.socket) -> asyncio.AbstractServer:
        copy = listener.dup()
        try:
            return await self._loop.create_server(self._made, sock=copy, ssl=self._ssl, backlog=self._backlog)
        except BaseException:
            copy.close()
            raise

    def _close(self) -> None:
        for server in self._servers.values():
            server.close()
        self._servers = {}

    def _made(self) -> asyncio.Protocol:
        self._loop.call_soon(self._balance)  # not now: uvloop is in the middle of making the connection
        return self._create()

    def _balance(self) -> None:
        self._row.connections = own = lifecycle.connections + len(self._joining)
        room = TOLERANCE * self._mean() + SLACK - own
        if not self._servers:
            return
        takes_all = self._alone or not self._others or self._is_late
        most = MOST_PER_ITERATION if takes_all else min(MOST_PER_ITERATION, math.floor(room))
        if most < 0:
            self._close()
            self._loop.call_later(min(LEAVE_S * math.ceil(-room), LEAVE_MOST_S), self._reopen)
        for listener in self._listeners:
            self._accept_pending(listener, most)

    def _accept_pending(self, listener: socket.socket, most: int) -> None:
        """Accept connections that the kernel has made already."""
        with suppress(OSError):
            for _ in range(most):
                connection, _ = listener.accept()
                connection.setblocking(False)
                self.join(connection)

    def join(self, connection: socket.socket) -> None:
        """Serve a connection that was accepted."""
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._create, connection, ssl=self._ssl))
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)

    def _reopen(self) -> None:
        if self._opening is None or self._opening.done():
            self._opening = self._loop.create_task(self._open())

    def _beat(self) -> None:
        now = time.monotonic()
        self._is_late = 0 < self._row.last_beat < now - BEAT_S - LEAVE_MOST_S
        self._row.last_beat = now
        self._row.connections = own = lifecycle.connections
        self._others = roster.others(self._slot, since=now - ALIVE_S)
        lifecycle.surplus = math.ceil(SHED_SHARE * max(0.0, own - SHED_ABOVE * self._mean() - SLACK))
        self._timer = self._loop.call_later(BEAT_S, self._beat)

    def _mean(self) -> float:
        everybody: int = lifecycle.connections + sum(row.connections for row in self._others)
        return everybody / (len(self._others) + 1)
