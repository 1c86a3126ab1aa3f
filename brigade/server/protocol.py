"""Has the requests of a connection answered, in their order. It knows nothing of the application."""

import asyncio
import contextvars
import typing
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from brigade.headers import declared_bytes
from brigade.server.connection import Reading
from brigade.server.cycle import Cycle, Stage
from brigade.server.refusals import Refused
from brigade.server.sizes import MAX_PIPELINED
from brigade.server.upgrade import UpgradeReader
from brigade.settings import Settings

WAITING, COLLECTED, STREAMED = Stage
"""These names are bound here, because a look into the enum takes longer than the comparison."""


class Shortcuts(typing.Protocol):
    """Answers some requests without a task. The application hands it over as `service.shortcuts`."""

    def begin(self, scope: Any, finish: Callable[[Any], bool]) -> bool: ...


class Protocol(UpgradeReader):
    def __init__(self, *args: Any, settings: Settings, **kwargs: Any) -> None:
        super().__init__(*args, settings=settings, **kwargs)
        self._shortcuts: Shortcuts | None = self.app_state.get("service.shortcuts")
        # Per connection
        self.waiting: deque[Cycle] = deque()
        """Requests behind the one that is being answered."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.extensions = {"service.before_answer": self.output.before.append, "service.answer": self._send_whole}

    def connection_lost(self, exc: Exception | None) -> None:
        if self.answering is not None:
            self.answering.disconnect()
        self._drop_waiting()
        super().connection_lost(exc)
        self.extensions, self.answering, self.receiving = {}, None, None

    def eof_received(self) -> bool:  # type: ignore[override]
        """Stay open for the answers to a client that has sent all it will."""
        if self.waiting and self.waiting[-1].more_body:
            self.waiting.pop().disconnect()  # its body never comes
        self.reading, self.input_closed = Reading.NOTHING, True
        self._cancel_deadline()
        last = self.last_unanswered()
        if last is None or last.more_body or last.disconnected:
            self.close()
            return False
        last.keep_alive = False
        return True

    def last_unanswered(self) -> Cycle | None:
        if self.waiting:
            return self.waiting[-1]
        return None if self.answering is None or self.answering.response_complete else self.answering

    # Turns

    def accept(self, cycle: Cycle) -> None:
        if len(self.waiting) >= MAX_PIPELINED:
            raise Refused(400, f"At most {MAX_PIPELINED} requests may wait for an answer.")
        if self.answering is None:
            self.answering = cycle  # it begins when more of it has come
        else:
            self.flow.pause_reading()
            self.waiting.append(cycle)

    def _take_turn(self, cycle: Cycle) -> None:
        """Begin the request if it has come in full, so that a client that stalls in the body does not hold a slot."""
        self.answering = cycle
        if not cycle.more_body:
            self._begin(cycle, COLLECTED)
        elif self.reading is Reading.BODY:
            self.begin_early()

    def begin_complete(self, cycle: Cycle) -> None:
        if cycle is self.answering and cycle.stage is WAITING:
            self._begin(cycle, COLLECTED)

    def begin_early(self) -> None:
        """Begin a request of which we collect no more, or which the application refuses by its head; and have a client
        that waits for `100 Continue` send the body.
        """
        cycle = self.answering
        if cycle is None or cycle.stage is not WAITING:
            return
        if self.flow.read_paused or self._is_too_large(cycle):
            if cycle.waiting_for_100_continue:
                cycle.keep_alive = False  # after another answer a client may send the body or not (RFC 9110, 10.1.1)
            self._begin(cycle, STREAMED)
        elif cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _is_too_large(self, cycle: Cycle) -> bool:
        """Whether the application refuses the request by its head. Its limit is asked for where the client waits for an answer
        to its head; other clients send the body meanwhile.
        """
        bytes_ = declared_bytes(cycle.scope["headers"])
        if bytes_ > self._settings.max_body_bytes:
            return True
        limit_of = self.app_state.get("service.body_limit") if cycle.waiting_for_100_continue else None
        return limit_of is not None and bytes_ > limit_of(cycle.scope)

    def _begin(self, cycle: Cycle, stage: Stage) -> None:
        cycle.stage = stage
        shortcuts = None if self.flow.write_paused else self._shortcuts
        if shortcuts is None or not shortcuts.begin(cycle.scope, partial(self._end_shortcut, cycle)):
            self.start_task(cycle)

    def start_task(self, cycle: Cycle) -> None:
        self._start_asgi_task(cycle, self.app)

    def _end_shortcut(self, cycle: Cycle, message: Any) -> bool:
        if cycle.disconnected:
            cycle.release()
            return False
        if message is None:
            self.start_task(cycle)
        else:
            cycle.write_whole(message)
        return True

    async def _send_whole(self, message: Any) -> None:
        if self.answering is not None:
            await self.answering.send_whole(message)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self.answering = None
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.waiting:
            contextvars.Context().run(self._take_turn, self.waiting.popleft())  # not that of the task that ends
        else:
            self.await_next_request()

    # The end

    def refuse(self, refused: Refused) -> None:
        """Say why, if the client can still take it for the answer to this request, and read no further."""
        broken = self.receiving if self.reading is Reading.BODY else None
        self.reading, self.receiving = Reading.NOTHING, None
        self._cancel_deadline()
        self.forget_request()
        if broken is not None:
            broken.disconnect()
            if self.waiting and self.waiting[-1] is broken:
                self.waiting.pop()
        last = self.last_unanswered()
        if last is not None and last is not broken:
            last.keep_alive = False  # the requests before it are answered, the last of them with `Connection: close`
            return
        if broken is None or not broken.response_started:
            self.answer_refused(refused)
        self.close(lingering=True)

    def close(self, *, lingering: bool = False) -> None:
        self._drop_waiting()
        super().close(lingering=lingering)

    def _drop_waiting(self) -> None:
        while self.waiting:
            self.waiting.pop().disconnect()

    def cut(self) -> None:
        """The worker waits no longer."""
        if self.answering is not None and not self.answering.response_started:
            self.answering.forget_unsent_head()
            self.answer_refused(Refused(503, "The server is stopping, and the request took too long for it."))
            self.answering.disconnected = True
        self.transport.close()
