"""One client connection: uvicorn's httptools protocol with bounds in time and size, and an orderly goodbye.

It knows nothing of the application but when it is its turn.
"""

import asyncio
import contextvars
import functools
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from brigade.server.lifecycle import lifecycle
from brigade.server.received import declared_bytes, hold, most_held
from brigade.server.refusals import Header, Refused, as_answer, check_head, check_head_size, check_header_count
from brigade.settings import Settings

if TYPE_CHECKING:
    from brigade.web.shortcuts import Shortcuts

LINGER_S = 2.0
"""How long a leaving worker waits for the next request of an idle client, and a refusal for the client to hear it."""

MAX_PIPELINED = 16
"""Requests that may wait behind the one being answered. One read holds 8,000 of the shortest, and each takes 2 kB."""

CHUNK_OVERHEAD = 6
"""A body sent in chunks of one byte takes six for each: `1`, two line ends and itself."""

MAX_PIECES, PIECE_BYTES = 1000, 32
"""Chunks that a body may have anyhow, and bytes that any further ones have on average: 200 bodies of 1 MiB in chunks of
one byte held the loop for more than ten seconds.
"""

SLICE_BYTES = 16_384
"""Of a read, which may have 256 kB, is looked at before the next: a thousand clients with nothing but headers held the
loop for 4 s.
"""

MAX_TRAILERS = 100
"""In one slice. A million of them, which a body of 1 MiB has the bytes for, held the loop for a second and more."""


class _Nowhere(deque[object]):
    """Where trailers go. They are not headers, and would have no end."""

    left = MAX_TRAILERS

    def append(self, _: object) -> None:
        self.left -= 1
        if self.left < 0:
            raise Refused(431, f"A request may have {MAX_TRAILERS} trailers at most.")


_NOWHERE: Any = _Nowhere(maxlen=0)


class _Outlet:
    """What a response is written to: the transport, but for a goodbye that does not destroy what was said last."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._write = transport.write
        self.is_closing = transport.is_closing
        self.close = close
        self.before: list[Callable[[], None]] = []
        """Called right before the next write, the last first. uvloop hands that to the kernel at once: a process that
        is killed has done both or neither, but for the microsecond between them.
        """

    def write(self, data: bytes) -> None:
        while self.before:
            self.before.pop()()
        self._write(data)


def new_parser(protocol: HttpToolsProtocol) -> httptools.HttpRequestParser:
    """A parser that reads what arrives after `Connection: close` too, as uvicorn's own does."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def as_lines(headers: list[Header]) -> bytes:
    return b"".join([*[b"%s: %s\r\n" % header for header in headers], b"\r\n"])


def _reason(error: httptools.HttpParserCallbackError) -> Refused:
    """Asked here, as a frame that names what was raised through it is a cycle, and would keep its `data`, 256 kB a read."""
    cause = error.__context__
    return cause if isinstance(cause, Refused) else Refused(400, "The target is not the path of a URL.")


class Protocol(HttpToolsProtocol):
    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _idle_until = 0.0
    """By the loop's clock. To set a timer anew for each request would take 1.9 µs."""
    _active: RequestResponseCycle | None = None
    """The request being answered; `cycle` is the one read last."""
    _unbegun: tuple[RequestResponseCycle, Any] | None = None
    """`_active` and its application, while the body is on its way."""
    _in_body = _deaf = _client_ended = False
    _chunk_bytes = _head_bytes = _body_bytes = 0
    _pieces_left = 0.0

    def __init__(self, *args: Any, settings: Settings, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings = settings
        self._shortcuts: Shortcuts | None = self.app_state.get("service.shortcuts")  # the application's, if it has any
        self._max_body_bytes = settings.max_header_bytes + CHUNK_OVERHEAD * settings.max_body_bytes
        self._most_held = most_held(settings)
        self.headers = _NOWHERE  # a list while a head is being read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._outlet = _Outlet(transport, self._part)
        self._extensions = {"service.before_answer": self._outlet.before.append, "service.answer": self._answer_whole}
        lifecycle.connections += 1
        self._arm()
        if lifecycle.leaving:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        lifecycle.connections -= 1
        self._disarm()
        if self._active is not None:  # uvicorn tells the request that was read last, and this one may be before it
            self._active.disconnected = True
            self._active.message_event.set()
        super().connection_lost(exc)
        # Leave nothing to the garbage collector, which comes late: a hostile head has 5 MB of headers, until then.
        self._unset_keepalive_if_required()
        self._outlet, self._extensions, self.headers, self._unbegun = None, {}, _NOWHERE, None  # type: ignore[assignment]
        self.scope = self.cycle = self._active = None  # type: ignore[assignment]
        self.pipeline.clear()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Stay open for the answers to a client that has sent all it will: `shutdown(SHUT_WR)`."""
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()  # its body never comes
        last = self._last()
        if last is None or last.more_body or last.response_started or last.disconnected:
            return False
        last.keep_alive = False
        self._client_ended = True
        return True

    def data_received(self, data: bytes) -> None:
        if len(data) <= SLICE_BYTES:
            self._receive(data)
        else:
            for start in range(0, len(data), SLICE_BYTES):
                self._receive(data[start : start + SLICE_BYTES])

    def _receive(self, data: bytes) -> None:
        if self._deaf:
            return
        self._chunk_bytes = len(data)
        _NOWHERE.left = MAX_TRAILERS
        try:
            self._feed(data)
            halfway = self._in_body or self.headers is not _NOWHERE
            if halfway:
                self._check_sizes()
        except httptools.HttpParserCallbackError as error:
            self._refuse(_reason(error))
        except httptools.HttpParserError as error:
            self._refuse(Refused(400, f"This is not HTTP/1.1: {error}."))
        except Refused as refused:
            self._refuse(refused)
        else:
            if self._deadline is None and (halfway or self._active is None or self._active.response_complete):
                self._arm()

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._ignore_upgrade()

    def _ignore_upgrade(self) -> None:
        """Parse the head again without its Upgrade field, because a server goes on in HTTP/1.1 if it does not speak the
        protocol that the client offers (RFC 9110, 7.8). The parser takes a request that offers one to have no body,
        and would read the body as the next request.
        """
        version, method = self.parser.get_http_version().encode(), self.parser.get_method()
        fields = [field for field in self.headers if field[0] != b"upgrade"]
        self.parser = new_parser(self)
        self.parser.feed_data(b"%s %s HTTP/%s\r\n%s" % (method, self.url, version, as_lines(fields)))

    def _check_sizes(self) -> None:
        if self._in_body:
            self._body_bytes += self._chunk_bytes
            if self._body_bytes > self._max_body_bytes:
                raise Refused(413, f"A body may have {self._settings.max_body_bytes} bytes at most.")
            self._begin_before_its_end()
        else:
            before = max(0, self._head_bytes)
            self._head_bytes += self._chunk_bytes
            check_head_size(self._head_bytes, self._settings.max_header_bytes)
            check_header_count(self.headers)
            hold(self.scope, max(0, self._head_bytes) - before, self._most_held)

    def on_headers_complete(self) -> None:
        check_head(self.headers, self.parser.get_http_version())
        most = self._settings.max_header_bytes
        if self._head_bytes > 0 or self._chunk_bytes > most:
            check_head_size(len(self.url) + sum(len(name) + len(value) for name, value in self.headers), most)
        if len(self.pipeline) >= MAX_PIPELINED:
            raise Refused(400, f"At most {MAX_PIPELINED} requests may wait for an answer.")
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise Refused(400, "This server is no proxy: it makes no tunnels.")
            return  # `feed_data` ends here, with HttpParserUpgrade
        self._disarm()
        super().on_headers_complete()
        self.headers = _NOWHERE
        self._in_body, self._body_bytes, self._pieces_left = True, 0, MAX_PIECES
        if lifecycle.leaving or lifecycle.surplus:
            self.cycle.keep_alive = False
            lifecycle.surplus = max(0, lifecycle.surplus - 1)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._pieces_left += len(body) / PIECE_BYTES - 1
        if self._pieces_left < 0:
            raise Refused(
                400, f"The chunks of a body have {PIECE_BYTES} bytes or more, but for the first {MAX_PIECES}."
            )
        if not self.cycle.response_complete:
            hold(self.cycle.scope, len(body), self._most_held)

    def on_message_complete(self) -> None:
        if not self._in_body:  # the parser takes it to end with its head, because it offers an upgrade
            return
        super().on_message_complete()
        self._in_body = False
        self._head_bytes = -self._chunk_bytes  # what follows in this read may belong to the next request
        self._disarm()
        if self._unbegun is not None:
            self._take_up(*self._unbegun)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Its turn has come. It begins when all of it has: who never sends the rest takes no place from others."""
        self._active = cycle
        cycle.transport = self._outlet  # type: ignore[assignment]
        cycle.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]
        if not cycle.more_body:
            self._take_up(cycle, app)
        else:
            self._unbegun = cycle, app
            if self._in_body:
                self._begin_before_its_end()

    def _take_up(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._unbegun = None
        ways = None if self.flow.write_paused else self._shortcuts
        scope: Any = cycle.scope
        if ways is None or not ways.begin(scope, functools.partial(self._end_shortcut, cycle, app)):
            self._start_task(cycle, app)

    def _begin_before_its_end(self) -> None:
        """Where the rest of the body is more than we take without being asked, or would be refused unheard; and have a client
        that waits for a word send it.
        """
        if self._unbegun is None:
            return
        cycle, app = self._unbegun
        if self.flow.read_paused or declared_bytes(cycle.scope["headers"]) > self._settings.max_body_bytes:
            self._take_up(cycle, app)
        elif cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _start_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, app)

    def _end_shortcut(self, cycle: RequestResponseCycle, app: Any, message: Any) -> bool:
        if cycle.disconnected:
            return False
        if message is None:
            self._start_task(cycle, app)
        else:
            self._write_whole(cycle, message)
        return True

    def _hear(self) -> None:
        """Read again from a connection that waits for its next request."""
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        self._await_next()

    def _await_next(self) -> None:
        self._idle_until = self.loop.time() + self.timeout_keep_alive
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        left_s = self._idle_until - self.loop.time()
        if not self._is_idle():
            return  # the next answer sets it anew
        if left_s > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)
        else:
            self.close()

    async def _answer_whole(self, message: Any) -> None:
        """What takes `send` two messages, and 5 µs more."""
        if self.flow.write_paused:
            await self.flow.drain()
        if self._active is not None and not self._active.disconnected:
            self._write_whole(self._active, message)

    def _write_whole(self, cycle: RequestResponseCycle, message: Any) -> None:
        headers = message["headers"] + self._last_headers(cycle)
        head = STATUS_LINE[message["status"]] + as_lines(headers)
        if not head.count(b"\r") == head.count(b"\n") == len(headers) + 2:
            raise RuntimeError("A line break in a header would begin another one.")
        for call in message["before"]:
            call()
        self._finish(cycle, head, message["body"])

    def _last_headers(self, cycle: RequestResponseCycle) -> list[Header]:
        default = self.server_state.default_headers
        return default if cycle.keep_alive else [*default, (b"connection", b"close")]

    def _finish(self, cycle: RequestResponseCycle, head: bytes, body: bytes) -> None:
        cycle.response_started = cycle.response_complete = True
        cycle.transport.write(head if cycle.scope["method"] == "HEAD" else head + body)
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()

    def on_response_complete(self) -> None:
        answered = self._active
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                contextvars.Context().run(self._start_asgi_task, *self.pipeline.pop())  # not that of the task that ends
            else:
                self._await_next()
        if answered is not None and answered is self.cycle and not answered.more_body:
            self.cycle = self._active = None  # type: ignore[assignment]  # 4 kB that an idle connection need not hold
            if self.headers is _NOWHERE:
                self.scope = None  # type: ignore[assignment]

    def _is_idle(self) -> bool:
        """Nothing has been asked, or begun to be asked, that is not answered."""
        return not (self._last() or self._in_body or self._deaf or self.headers is not _NOWHERE)

    def _last(self) -> RequestResponseCycle | None:
        """The last of the requests that still wait for their answers."""
        if self.pipeline:
            return self.pipeline[0][0]
        return None if self._active is None or self._active.response_complete else self._active

    def _arm(self) -> None:
        settings = self._settings
        seconds = settings.body_timeout_s if self._in_body else settings.header_timeout_s
        self._deadline = self.loop.call_later(seconds, self._late)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        in_head = self.headers is not _NOWHERE
        if self.flow.read_paused or (in_head and self._last()):
            self._arm()  # it is we who are slow
        elif in_head or self._in_body:
            self._refuse(Refused(408, f"The {'head' if in_head else 'body'} of the request took too long."))
        else:
            self.close()

    def _refuse(self, refused: Refused) -> None:
        """Say why, if the client can still take it for the answer to this request, and read no further."""
        broken = self.cycle if self._in_body else None
        if self.pipeline and self.pipeline[0][0] is broken:
            self.pipeline.popleft()
        last = self._last()
        self._deaf = True
        self._disarm()
        # It may linger, and has what came of the head: a read has room for 40,000 headers.
        self.headers, self.url, self.scope, self.parser = _NOWHERE, b"", None, None  # type: ignore[assignment]
        self._unbegun = None
        if last is not None and last is not broken:
            last.keep_alive = False  # the requests before it are answered, the last of them with `Connection: close`
            return
        if broken is None or not broken.response_started:
            self._answer(refused)
        if broken is not None:
            broken.disconnected = True
            broken.body.clear()
            broken.message_event.set()
        self.close(lingering=True)

    def _answer(self, refused: Refused) -> None:
        lifecycle.refused[refused.status] += 1
        self.transport.write(as_answer(refused, self.server_state.default_headers))

    def _part(self) -> None:
        """After the last answer; a client that pipelines may have more requests on their way."""
        self.close(lingering=not self._client_ended)

    def close(self, *, lingering: bool = False) -> None:
        """Bytes that arrive and are not read would make the kernel reset the connection and drop the answer with it."""
        self.pipeline.clear()
        self._deaf = True
        self._disarm()
        if self.transport.is_closing():
            return
        if lingering or self._in_body or self.headers is not _NOWHERE:
            self.transport.write_eof()
            self.flow.resume_reading()
            self.loop.call_later(LINGER_S, self.transport.abort)
        else:
            self.transport.close()
            if self.transport.get_write_buffer_size():
                self._expect_reader()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reader()

    def _expect_reader(self) -> None:
        """A client that takes no bytes has as long for ours as for its own."""
        if self._stalled is None:
            self._stalled = self.loop.call_later(self._settings.body_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def shutdown(self) -> None:
        """The worker leaves: answer what is on its way, with `Connection: close` wherever that can still be said."""
        self.timeout_keep_alive = LINGER_S  # type: ignore[assignment]
        self._unset_keepalive_if_required()
        last = self._last()
        if last is None:
            self._hear()
        elif not last.response_started:
            last.keep_alive = False

    def cut(self) -> None:
        """The worker waits no longer."""
        if self._active is not None and not self._active.response_started:
            self._answer(Refused(503, "The server is stopping, and the request took too long for it."))
            self._active.disconnected = True
        self.transport.close()
