"""Admission control: how many requests begin in a turn of the event loop, and how few words a full worker has for more.

What is under way goes before what is new. Were everything begun that has been read, a turn would take as long as the
crowd is large, and each answer of a backend, each new connection and each health check would wait for it.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from brigade.server.lifecycle import lifecycle
from brigade.server.protocol import Protocol, as_lines
from brigade.server.refusals import BY_MACHINES, announcer, crowded
from brigade.settings import Settings

HOLD_S = 1.0
"""How long a connection that was refused is not read, as `Retry-After` tells it: until then, or until there is room. Clients
that ask again at once would be refused again and again, each time for as much as a redirect takes.
"""

NOT_PLAIN = (b"\ncontent-length:", b"\ntransfer-encoding:", b"\nconnection:", b"\nupgrade:", b"\nexpect:")
"""Headers that say more than what is asked for: a body follows, or what becomes of the connection."""

TURN_S = 0.004
"""As long as turns should be while requests wait: after a shorter one more begin, after a longer one fewer."""
LEAST = 4


class Admission:
    """Requests that wait, in order, for one of the next turns."""

    def __init__(self) -> None:
        self.under_way = 0
        """Requests that have begun and not ended."""
        self.waiting: deque[Callable[[], None]] = deque()
        self._most = self._left = LEAST
        self._turning = False
        self._scheduled_s = 0.0

    def admit(self, begin: Callable[[], None]) -> None:
        """Call `begin` now, or in a later turn in the context of now."""
        if self._left:
            self._left -= 1
            begin()
        else:
            self.waiting.append(partial(copy_context().run, begin))
        if not self._turning:
            self._schedule()

    @property
    def in_flight(self) -> int:
        return self.under_way + len(self.waiting)

    def _schedule(self) -> None:
        self._turning = True
        self._scheduled_s = time.perf_counter()
        asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        if self.waiting:
            in_time = time.perf_counter() - self._scheduled_s < TURN_S
            self._most = self._most + 1 if in_time else max(LEAST, self._most // 2)
        self._left = self._most
        self._turning = False
        while self.waiting and self._left:
            self._left -= 1
            self.waiting.popleft()()
        if self._left < self._most:
            self._schedule()


admission = Admission()
"""Of this process; there is one event loop in it."""

_held: "OrderedDict[AdmittingProtocol, None]" = OrderedDict()
"""Connections of this process that were refused, and are not read for the moment."""


class AdmittingProtocol(Protocol):
    def __init__(self, *args: Any, settings: Settings, **kwargs: Any) -> None:
        super().__init__(*args, settings=settings, **kwargs)
        self._most = settings.max_in_flight

    def connection_lost(self, exc: Exception | None) -> None:
        _held.pop(self, None)
        super().connection_lost(exc)

    def close(self, *, lingering: bool = False) -> None:
        _held.pop(self, None)
        super().close(lingering=lingering)

    def data_received(self, data: bytes) -> None:
        if admission.in_flight < self._most or not self._turn_away_unread(data):
            super().data_received(data)

    def _start_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        begin = partial(self._begin, cycle, app)
        if cycle.scope["path"] in BY_MACHINES:
            begin()
        elif admission.in_flight < self._most:
            admission.admit(begin)
        else:
            self.loop.call_soon(self._turn_away, cycle)

    def _begin(self, cycle: RequestResponseCycle, app: Any) -> None:
        if not cycle.disconnected:
            admission.under_way += 1
            super()._start_task(cycle, partial(self._serve, app))

    async def _serve(self, app: Any, *asgi: Any) -> Any:
        """Gives up its place before the task is done, which the loop says a turn later: who was answered asks again by then."""
        try:
            return await app(*asgi)
        finally:
            if _held:
                self._hear_others()
            admission.under_way -= 1

    def _turn_away(self, cycle: RequestResponseCycle) -> None:
        """Without a task and without the application: what cannot be served must not take the time of what can."""
        if cycle.disconnected or self._deaf:
            return
        head, body = self._crowded()
        self._finish(cycle, head + as_lines(self._last_headers(cycle)), body)
        if self._is_idle() and not lifecycle.leaving:
            self._hold()

    def _turn_away_unread(self, data: bytes) -> bool:
        """Whether this was one whole GET of the plainest kind, which is refused without being parsed: at five times what a
        worker can do, there are four of these for each request that it serves.
        """
        idle = self._is_idle() and not lifecycle.leaving
        if not idle or not (data.startswith(b"GET /") and data.find(b"\r\n\r\n") == len(data) - 4):
            return False
        lines = data.lower().replace(b"\nconnection: keep-alive\r", b"")
        path = data[4 : lines.find(b" http/1.1\r\n")].partition(b"?")[0].decode("latin-1")
        if path in BY_MACHINES or any(name in lines for name in NOT_PLAIN):
            return False
        if self._shortcuts is not None and self._shortcuts.lead_to(path):
            return False
        self._hold()
        head, body = self._crowded()
        self.transport.write(b"".join([head, as_lines(self.server_state.default_headers), body]))
        return True

    def _hold(self) -> None:
        self._disarm()
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(HOLD_S, self._hear)
        self.flow.pause_reading()
        _held[self] = None

    def _crowded(self) -> tuple[bytes, bytes]:
        lifecycle.refused[503] += 1
        announcer.turned_away(self._most)
        return crowded(self._most)

    def _hear(self) -> None:
        _held.pop(self, None)
        super()._hear()

    def _hear_others(self) -> None:
        """Those that were held longest: one for each place that is given up, two while half of the places are free, as
        what is heard may have nothing to ask.
        """
        for _ in range(min(len(_held), 1 + (2 * admission.in_flight < self._most))):
            next(iter(_held))._hear()
