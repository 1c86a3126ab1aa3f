"""The server of uvicorn with an orderly end: when it may leave, what it still accepts, how long it waits.

It knows Gunicorn by its signals alone.
"""

import asyncio
import faulthandler
import functools
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from brigade.server.admission import AdmittingProtocol
from brigade.server.balance import Acceptor
from brigade.server.garbage import Garbage
from brigade.server.lifecycle import State, lifecycle, roster
from brigade.server.ops_port import OpsPort
from brigade.server.streams import streams
from brigade.settings import Settings

HEARTBEAT_S = 1.0
POLL_S = 0.05

ASKED_TOGETHER_S = 0.2
"""The master asks old workers to leave one after the other. None may take another, which has yet to be asked, for its
successor.
"""

CUT_S = 0.5
"""Seconds for cancelled requests to unwind, before the lifespan closes their pools."""

WATCHDOG_MARGIN_S = 0.5
"""How long before Gunicorn's SIGKILL, which says nothing, a worker prints where it hangs and ends itself."""

YOUNG_OBJECTS = 20_000
"""New objects before the garbage collector looks at them. Python's 700 are fewer than 64 requests in flight have, which
cost 9 µs of each hot answer and a p99 of 150 ms instead of 20.
"""

log = logging.getLogger("gunicorn.error")


class Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, settings: Settings, *, slot: int, master: int, notify: Callable[[], None]
    ) -> None:
        config.http = functools.partial(AdmittingProtocol, settings=settings)  # type: ignore[assignment]
        config.ws_max_size = settings.ws_max_message_bytes
        super().__init__(config)
        self._settings = settings
        self._slot = slot
        self._master = master
        self._notify = notify
        self.ops_port = OpsPort(self._hand_over)
        self._signals: set[int] = set()
        self._asked_at: float | None = None
        self._waits_for_successor = self._in_a_hurry = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._main = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=[])
        if most := self.lifespan.state.get("service.max_body_bytes"):
            settings = self._settings.model_copy(update={"max_body_bytes": most})
            self.config.http_protocol_class = functools.partial(AdmittingProtocol, settings=settings)  # type: ignore[assignment]
        _settle()
        config, alone = self.config, self._settings.reuse_port
        self._acceptor = Acceptor(self._create, slot=self._slot, alone=alone, ssl=config.ssl, backlog=config.backlog)
        await self._acceptor.start(sockets or [])
        self.ops_port.start()
        self._enter(State.READY)
        self.lifespan.state.get("service.serving", _nobody_asks)()
        self._heart = asyncio.create_task(self._beat(), name="heartbeat")

    def _enter(self, state: State) -> None:
        """SIGCHLD wakes the master, which would otherwise look within a second."""
        roster.set_state(self._slot, state)
        if os.getppid() == self._master and not roster.flags.stopping:
            os.kill(self._master, signal.SIGCHLD)

    async def _beat(self) -> None:
        """Beat from the event loop, so that a blocked one is noticed; from the first request on, so that the start is
        bounded too; and through the drain, so that it is not taken for a blocked loop.
        """
        every_s, garbage = min(HEARTBEAT_S, self._settings.worker_timeout_s / 4), Garbage()
        while True:
            self._notify()
            if os.getppid() != self._master and not lifecycle.leaving:
                log.error("The master is gone: stopping.")
                roster.flags.draining = roster.flags.stopping = True
                self.handle_exit(signal.SIGTERM, None)
            garbage.collect()
            await asyncio.sleep(every_s)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """SIGTERM: leave once a successor serves. SIGINT, SIGQUIT: leave. SIGQUIT after SIGTERM, or the same again: hurry.

        Ctrl-C comes as SIGINT from the terminal and as SIGQUIT from the master, in any order, and is one wish. Nothing
        is raised again afterwards, as uvicorn would do: an orderly end is exit status 0, with all exit handlers.
        """
        if not self.started:
            self._give_up_start()
            return
        before = self._signals
        again = sig in before or (sig == signal.SIGQUIT and signal.SIGTERM in before)
        self._in_a_hurry |= sig != signal.SIGTERM and again
        if self._asked_at is None:
            self._leave(State.STOPPING)
        self._waits_for_successor &= sig == signal.SIGTERM
        before.add(sig)

    def _give_up_start(self) -> None:
        logging.getLogger("uvicorn.error").addFilter(_is_not_cancellation)
        faulthandler.dump_traceback_later(self._settings.graceful_timeout_s - WATCHDOG_MARGIN_S, exit=True)
        self.lifespan.startup_failed = True  # or uvicorn would log the cancellation as an error
        if self._main is not None:
            self._main.cancel()

    def _leave(self, state: State) -> None:
        self._asked_at = time.monotonic()
        self._waits_for_successor = True
        self.should_exit = True
        self._enter(state)

    async def on_tick(self, counter: int) -> bool:
        leaves = await super().on_tick(counter)
        if leaves and not self.should_exit:
            self.limit_max_requests = None
            self._leave(State.RECYCLING)
        return self.should_exit and self._may_leave()

    def _may_leave(self) -> bool:
        """A worker that is replaced serves until its successor does: should that never start, nothing has stopped."""
        assert self._asked_at is not None
        if not self._waits_for_successor or roster.flags.stopping:
            return True
        asked_long_ago = time.monotonic() > self._asked_at + ASKED_TOGETHER_S
        return asked_long_ago and roster.has_newer(self._slot, State.READY)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        started, settings = time.monotonic(), self._settings
        faulthandler.dump_traceback_later(settings.graceful_timeout_s - WATCHDOG_MARGIN_S, exit=True)
        lifecycle.leaving = roster[self._slot].drains = True
        self.ops_port.stop()
        await self._acceptor.stop()
        connections, tasks = self.server_state.connections, self.server_state.tasks
        for connection in list(connections):
            connection.shutdown()
        log.info("Draining: %d connections, %d requests, %d streams.", len(connections), len(tasks), streams.count)
        streams.tell_all(settings.drain_timeout_s)
        # Two sets of uvicorn's, which tell nobody when they are empty.
        while (connections or tasks) and not self._in_a_hurry and time.monotonic() < started + settings.drain_timeout_s:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
        await self._cut()
        await self.lifespan.shutdown()

    def _hand_over(self, connection: socket.socket) -> None:
        """Called in another thread."""
        self._loop.call_soon_threadsafe(self._acceptor.join, connection)

    def _create(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=self._loop
        )

    async def _cut(self) -> None:
        state = self.server_state
        if streams.count:
            streams.tell_all()
            await asyncio.wait(state.tasks, timeout=CUT_S)
        if state.tasks:
            logging.getLogger("uvicorn.error").addFilter(_is_not_cancellation)
            seconds = self._settings.drain_timeout_s
            log.error("%d requests outlasted the drain of %g s and are cut.", len(state.tasks), seconds)
        for connection in list(state.connections):
            connection.cut()  # type: ignore[union-attr]
        for task in state.tasks:
            task.cancel()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=CUT_S)


def _is_not_cancellation(record: logging.LogRecord) -> bool:
    """Whether it is another record than that of a cancellation, which Starlette sends uvicorn as text."""
    if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
        return False
    return not record.getMessage().rstrip().endswith("CancelledError")


def _nobody_asks() -> None:
    """Stands for an application that need not know when it serves."""


def _settle() -> None:
    """Freeze the objects that exist now, so that the garbage collector does not look at them again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
