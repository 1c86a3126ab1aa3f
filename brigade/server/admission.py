"""Admission control: how many requests begin in one iteration of the event loop, and how many may be in flight.

Requests under way go before new ones. If every request that has been read began at once, an iteration would take as long
as the crowd is large, and each answer of a backend, each new connection and each health check would wait for it.
"""

import asyncio
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

from brigade.cancellation import must_end
from brigade.server.answer_heads import as_lines
from brigade.server.cycle import Cycle, Slots
from brigade.server.lifecycle import lifecycle
from brigade.server.output import end_when_unheard
from brigade.server.protocol import Protocol
from brigade.server.refusals import announcer, crowded
from brigade.settings import Settings

PAUSE_S = 1.0
"""How long a connection is not read after its request was refused, as `Retry-After` says, or until a slot becomes free.
Clients that ask again at once would be refused again and again, each time for as much as the shortest answer costs.
"""

MAX_PROBES = 100
"""Health checks of one path that may be under way in a worker."""

TURN_S = 0.004
"""How long an iteration should take while requests wait. After a shorter one more of them begin, after a longer one fewer."""
LEAST = 4


class Admission(Slots):
    """Requests that wait, in order, for one of the next turns."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: deque[Callable[[], None]] = deque()
        self._most = self._left = LEAST
        self._turning = False
        self._scheduled_s = 0.0

    def admit(self, begin: Callable[..., None], *about: Any) -> None:
        """Call `begin` now, or in a later turn in the context of now."""
        if self._left:
            self._left -= 1
            begin(*about)
        else:
            self.waiting.append(partial(copy_context().run, begin, *about))
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
"""The admission of this process, which has one event loop."""

paused: "OrderedDict[AdmittingProtocol, None]" = OrderedDict()
"""Connections of this process whose last request was refused, and which are not read for the moment."""

probes: dict[str, Slots] = defaultdict(Slots)
"""Health checks under way, by path. They do not wait behind requests, but are bounded in number."""


class AdmittingProtocol(Protocol):
    def __init__(self, *args: Any, settings: Settings, **kwargs: Any) -> None:
        super().__init__(*args, settings=settings, **kwargs)
        self._most = settings.max_in_flight
        self._probe_paths: frozenset[str] = self.app_state.get("service.probe_paths", frozenset())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.extensions["service.hold"] = self._hold

    def connection_lost(self, exc: Exception | None) -> None:
        paused.pop(self, None)
        super().connection_lost(exc)

    def close(self, *, lingering: bool = False) -> None:
        paused.pop(self, None)
        super().close(lingering=lingering)

    def start_task(self, cycle: Cycle) -> None:
        path = cycle.scope["path"]
        if path in self._probe_paths:
            if probes[path].under_way < MAX_PROBES:
                self._begin_task(cycle, probes[path])
            else:
                self.loop.call_soon(self._turn_away, cycle, MAX_PROBES)
        elif admission.in_flight < self._most:
            admission.admit(self._begin_task, cycle, admission)
        else:
            self.loop.call_soon(self._turn_away, cycle, self._most)

    def _begin_task(self, cycle: Cycle, slots: Slots) -> None:
        if cycle.disconnected:
            cycle.release()
        else:
            slots.under_way += 1
            cycle.slots = slots
            self._start_asgi_task(cycle, partial(self._serve, cycle))

    async def _serve(self, cycle: Cycle, *asgi: Any) -> Any:
        """Free the slot as soon as the response is sent. The task's done-callback runs one iteration later, when the client
        may already have sent its next request.
        """
        try:
            return await self.app(*asgi)
        except BaseException as error:
            if cycle.response_complete and not must_end(error):
                cycle.logger.exception("The application failed after its answer.")
                return None  # uvicorn would close the connection, on which another request may be under way
            cycle.forget_unsent_head()
            raise
        finally:
            cycle.release()
            self._free_slot(cycle)

    def _free_slot(self, cycle: Cycle) -> None:
        slots, cycle.slots = cycle.slots, None
        if slots is not None:
            if paused and slots is admission:
                self._resume_others()
            slots.under_way -= 1

    def _hold(self) -> None:
        """The answer is a stream. It lasts as long as its client stays, and is no longer a request in flight."""
        if self.answering is not None:
            self._free_slot(self.answering)
            end_when_unheard(self.transport)

    def _turn_away(self, cycle: Cycle, most: int) -> None:
        """Without a task and without the application: what cannot be served must not take the time of what can."""
        if cycle.disconnected or self.transport.is_closing():
            cycle.release()
            return
        lifecycle.refused[503] += 1
        announcer.turned_away(most)
        head, body = crowded(most)
        cycle.finish(head + as_lines(cycle.standing_headers()), body)
        if self.is_idle() and not lifecycle.leaving:
            self._pause()

    def _pause(self) -> None:
        self._cancel_deadline()
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(PAUSE_S, self.resume_reading)
        self.flow.pause_reading()
        paused[self] = None

    def resume_reading(self) -> None:
        paused.pop(self, None)
        super().resume_reading()

    def _resume_others(self) -> None:
        """Read from the connections that were paused longest: one for each slot that becomes free, two while half of the
        slots are free, because the one that is read may have nothing to ask.
        """
        for _ in range(min(len(paused), 1 + (2 * admission.in_flight < self._most))):
            next(iter(paused)).resume_reading()
