"""Takes client connections in turn with the other workers, so that each has about as many as the next.

Left to the kernel, whoever is awake takes what comes: one of 8 workers had 37 of 100 connections for as long as they
lasted. A worker that has more than its share leaves the next one to the others for a moment. It reads no HTTP.
"""

import asyncio
import math
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from ssl import SSLContext
from typing import Any

from brigade.server.lifecycle import lifecycle, shares

LEAVE_S, LEAVE_MOST_S = 0.025, 0.05
"""To the others, for each connection too many. What is still there then is taken all the same: no client waits longer
because a worker hangs.
"""
BEAT_S = 0.1
ALIVE_S = 0.5
"""After its last beat. The share of a worker that is blocked for longer is left out."""

TOLERANCE, SLACK = 1.05, 1
"""So much above the mean a worker still takes connections: the others may be about to."""
A_TURN = 100
"""Of the event loop: so many connections are taken at most. libuv takes one, and a health check waited 7 s for its turn."""
SHED_ABOVE, SHED_SHARE = 1.25, 0.1
"""So much above the mean a worker asks clients to come again, a tenth of the surplus a beat: after a worker has died,
say, its successor has none and the others have all.
"""


class Acceptor:
    """`alone`: no other worker has the same listeners. `ssl` and `backlog` are those of `loop.create_server`."""

    def __init__(
        self, create: Callable[[], asyncio.Protocol], *, age: int, alone: bool, ssl: SSLContext | None, backlog: int
    ) -> None:
        self._create = create
        self._slot = age % shares.SLOTS
        self._alone = alone
        self._ssl = ssl
        self._backlog = backlog
        self._listeners: list[socket.socket] = []
        self._servers: list[asyncio.AbstractServer] = []
        self._others: list[int] = []
        self._joining: set[asyncio.Task[Any]] = set()

    async def start(self, listeners: Iterable[socket.socket]) -> None:
        self._loop = asyncio.get_running_loop()
        self._listeners = list(listeners)
        self._beat()
        self._reopen()
        await self._opening

    async def stop(self) -> None:
        """Take what the kernel has already connected, then close: the last to close would reset those connections."""
        self._timer.cancel()
        await self._opening
        self._close()
        for listener in self._listeners:
            self._take(listener, self._backlog)
            listener.close()  # before anything is awaited, as more would come meanwhile
        self._listeners = []
        await asyncio.gather(*self._joining, return_exceptions=True)
        shares.beats[self._slot] = 0

    async def _open(self) -> None:
        for listener in self._listeners:
            server = await self._loop.create_server(
                self._taken, sock=listener.dup(), ssl=self._ssl, backlog=self._backlog
            )
            self._servers.append(server)

    def _close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers = []

    def _taken(self) -> asyncio.Protocol:
        self._loop.call_soon(self._judge)  # not now: uvloop is in the middle of making the connection
        return self._create()

    def _judge(self) -> None:
        shares.connections[self._slot] = own = lifecycle.connections + len(self._joining)
        room = TOLERANCE * self._mean() + SLACK - own
        if not self._servers:
            return
        most = A_TURN if self._alone or not self._others else min(A_TURN, math.floor(room))
        if most < 0:
            self._close()
            self._loop.call_later(min(LEAVE_S * math.ceil(-room), LEAVE_MOST_S), self._reopen)
        for listener in self._listeners:
            self._take(listener, most)

    def _take(self, listener: socket.socket, most: int) -> None:
        """Connections that the kernel has made already."""
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
        self._opening = self._loop.create_task(self._open())

    def _beat(self) -> None:
        now = time.monotonic()
        shares.beats[self._slot] = now
        shares.connections[self._slot] = own = lifecycle.connections
        self._others = [slot for slot in shares.alive(now - ALIVE_S) if slot != self._slot]
        lifecycle.surplus = math.ceil(SHED_SHARE * max(0.0, own - SHED_ABOVE * self._mean() - SLACK))
        self._timer = self._loop.call_later(BEAT_S, self._beat)

    def _mean(self) -> float:
        everybody = lifecycle.connections + sum(shares.connections[slot] for slot in self._others)
        return everybody / (len(self._others) + 1)
