"""One client connection: when it opens, how long it may wait for bytes, and how it closes."""

import asyncio
from abc import abstractmethod
from enum import Enum, auto
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from brigade.server.cycle import Cycle
from brigade.server.lifecycle import lifecycle
from brigade.server.output import LINGER_S, Output
from brigade.server.refusals import Refused, as_answer
from brigade.server.sizes import DISCARDED, Sizes
from brigade.settings import Settings


class Reading(Enum):
    """The part of a message to which the next byte of the client belongs."""

    NEXT = auto()
    """The next request, of which nothing has come."""
    HEAD = auto()
    BODY = auto()
    NOTHING = auto()
    """No further byte is parsed."""


class Connection(HttpToolsProtocol):
    def __init__(self, *args: Any, settings: Settings, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings = settings
        # Per connection
        self.reading = Reading.NEXT
        self.input_closed = False
        """The client has sent all it will, and may wait for answers: `shutdown(SHUT_WR)`."""
        self._deadline: asyncio.TimerHandle | None = None
        self._idle_until = 0.0
        """End of the idle time, by the loop's clock. A timer for each request would take 1.9 µs."""
        # Per request
        self.sizes = Sizes(settings)
        self.headers = DISCARDED  # a list while a head is being read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.output = Output(transport, self.loop, self._close_after_answer, self._settings.body_timeout_s)
        lifecycle.connections += 1
        self._start_deadline()
        if lifecycle.leaving:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave nothing to the garbage collector, which comes late: a hostile head has 5 MB of headers until then."""
        lifecycle.connections -= 1
        self.reading = Reading.NOTHING
        self._cancel_deadline()
        self.output.cancel()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self.forget_request()
        del self.output

    def forget_request(self) -> None:
        """Release what has come of a request whose head is incomplete."""
        self.sizes.release()
        self.headers, self.url, self.parser = DISCARDED, b"", None  # type: ignore[assignment]

    @abstractmethod
    def last_unanswered(self) -> Cycle | None:
        """The last of the requests that wait for an answer."""

    @abstractmethod
    def refuse(self, refused: Refused) -> None:
        """Answer the request that is being read, and read no further."""

    def is_idle(self) -> bool:
        """Nothing has been asked, or begun to be asked, that is not answered."""
        return self.reading is Reading.NEXT and self.last_unanswered() is None

    # Time

    def _start_deadline(self) -> None:
        settings = self._settings
        seconds = settings.body_timeout_s if self.reading is Reading.BODY else settings.header_timeout_s
        self._deadline = self.loop.call_later(seconds, self._pass_deadline)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _pass_deadline(self) -> None:
        self._deadline = None
        in_head = self.reading is Reading.HEAD
        if self.flow.read_paused or (in_head and self.last_unanswered()):
            self._start_deadline()  # it is we who are slow
        elif in_head or self.reading is Reading.BODY:
            self.refuse(Refused(408, f"The {'head' if in_head else 'body'} of the request took too long."))
        else:
            self.close()

    def await_next_request(self) -> None:
        self._idle_until = self.loop.time() + self.timeout_keep_alive
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        left_s = self._idle_until - self.loop.time()
        if not self.is_idle():
            return  # the next answer starts it again
        if left_s > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)
        else:
            self.close()

    def resume_reading(self) -> None:
        """Read again from a connection that waits for its next request."""
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        self.await_next_request()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.output.expect_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.output.reader_took_all()

    # The end

    def _close_after_answer(self) -> None:
        """Linger, because a client that pipelines may have more requests on their way."""
        self.close(lingering=not self.input_closed)

    def close(self, *, lingering: bool = False) -> None:
        """Bytes that arrive and are not read would make the kernel reset the connection and drop the answer with it."""
        lingering |= self.reading in {Reading.HEAD, Reading.BODY}
        self.reading = Reading.NOTHING
        self._cancel_deadline()
        if self.transport.is_closing():
            return
        if lingering:
            self.flow.resume_reading()
            self.output.linger()
        else:
            self.output.finish()

    def shutdown(self) -> None:
        """The worker leaves: answer what is on its way, with `Connection: close` wherever that can still be said."""
        self.timeout_keep_alive = LINGER_S  # type: ignore[assignment]
        self._unset_keepalive_if_required()
        last = self.last_unanswered()
        if last is None:
            self.resume_reading()
        elif not last.response_started:
            last.keep_alive = False

    def answer_refused(self, refused: Refused) -> None:
        lifecycle.refused[refused.status] += 1
        self.transport.write(as_answer(refused, self.server_state.default_headers))
