"""One request and its answer: uvicorn's cycle, with an answer in one write, and with what each HTTP version can read."""

import asyncio
import logging
from collections.abc import Sequence
from enum import Enum, auto
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from brigade.headers import Header
from brigade.server.answer_heads import CLOSE, as_head, has_length
from brigade.server.lifecycle import lifecycle
from brigade.server.memory import Holder
from brigade.server.output import Output


class Stage(Enum):
    WAITING = auto()
    """It waits for its turn, or for the rest of its body."""
    COLLECTED = auto()
    """It has begun with all of its body, which the application has until it ends."""
    STREAMED = auto()
    """It has begun before the end of its body, and holds what the application has not yet taken of it."""


class MessageEvent:
    """The part of `asyncio.Event` that uvicorn uses. It has no queue of waiters until a task waits, and most requests have come
    in full before the application asks for them.
    """

    is_set = False
    waiters: Sequence["asyncio.Future[None]"] = ()

    def set(self) -> None:
        self.is_set = True
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        self.is_set = False

    async def wait(self) -> None:
        if not self.is_set:
            waiter = asyncio.get_running_loop().create_future()
            self.waiters = [*[each for each in self.waiters if not each.done()], waiter]
            await waiter


class Slots:
    def __init__(self) -> None:
        self.under_way = 0
        """Requests that have begun and not ended."""


class Cycle(Holder, RequestResponseCycle):
    transport: Output  # type: ignore[assignment]  # it has all that uvicorn uses of a transport
    stage = Stage.WAITING
    slots: Slots | None = None
    """The slots of which it has one, while it counts as a request in flight."""
    head: Any = None
    """The head of an answer that waits for its body. ASGI lets a server send the two together."""

    # What uvicorn's own sets for each request, and most leave as it is.
    logger = logging.getLogger("uvicorn.error")
    access_log = disconnected = response_started = response_complete = False
    more_body = True
    chunked_encoding: bool | None = None
    expected_content_length = 0

    def __init__(self, scope: Any, connection: Any, *, keep_alive: bool, waits_for_100: bool) -> None:
        self.scope = scope
        self.transport = connection.output
        self.flow = connection.flow
        self.default_headers = connection.server_state.default_headers
        self.on_response = connection.on_response_complete
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = waits_for_100
        self.message_event = MessageEvent()  # type: ignore[assignment]  # it has what uvicorn uses of one
        self.body = bytearray()

    async def receive(self) -> Any:
        message = await super().receive()
        if self.stage is Stage.STREAMED:
            self.release()
        return message

    async def send(self, message: Any) -> None:
        """Send a head that has a length with its body: a second write would cost as much as a tenth of a small request."""
        head, self.head = self.head, None
        if head is None:
            if not self.response_started and has_length(message):
                self.head = message
                return
        elif self._is_body_of(head, message):
            await self.send_whole({**head, "body": message.get("body", b""), "before": ()})
            return
        else:
            await super().send(head)
        if self.transport.is_closing():
            await asyncio.sleep(0)  # or an answer that is sent without a pause would keep the loop from saying so
        await super().send(message)

    def _is_body_of(self, head: Any, message: Any) -> bool:
        """Whether it is all of the body that the head declares. HEAD declares the one that GET would have."""
        if message["type"] != "http.response.body" or message.get("more_body"):
            return False
        length = b"%d" % len(message.get("body", b""))
        return self.scope["method"] == "HEAD" or (b"content-length", length) in head["headers"]

    async def send_500_response(self) -> None:
        self.forget_unsent_head()
        lifecycle.refused[500] += 1
        await super().send_500_response()

    def forget_unsent_head(self) -> None:
        """Make room for another answer where the head waits for a body that does not come, or uvicorn has refused a header.
        What precedes the first byte, its count say, has not happened then.
        """
        self.head = None
        if self.transport.before:
            self.transport.before.clear()
            self.response_started, self.chunked_encoding, self.expected_content_length = False, None, 0

    async def send_whole(self, message: Any) -> None:
        """Send head and body in one message. To `send` them in two takes 5 µs more."""
        if self.flow.write_paused:
            await self.flow.drain()
        if not self.disconnected:
            self.write_whole(message)
            self.message_event.set()  # another task of the application may wait for the end in `receive`

    def write_whole(self, message: Any) -> None:
        # As `standing_headers`, and in `as_head` as `as_lines`, without their calls.
        headers = [*map(tuple, message["headers"]), *self.default_headers]
        if not self.keep_alive:
            headers.append(CLOSE)
        head = as_head(message["status"], headers)
        for call in message["before"]:
            call()
        self.finish(head, message["body"])

    def standing_headers(self) -> list[Header]:
        return self.default_headers if self.keep_alive else [*self.default_headers, CLOSE]

    def finish(self, head: bytes, body: bytes) -> None:
        self.response_started = self.response_complete = True
        self.transport.write(head if self.scope["method"] == "HEAD" else head + body)
        if self.held_bytes:
            self.release()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def disconnect(self) -> None:
        """Nobody waits for the answer. The application is told when it next asks."""
        self.disconnected = True
        self.body.clear()
        if self.stage is not Stage.COLLECTED:
            self.release()
        self.message_event.set()


class Http10Cycle(Cycle):
    """HTTP/1.0 has no chunks: the end of the connection ends a body of unknown length (RFC 9112, 6.1 and 6.3)."""

    ends_with_connection = False

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = [field for field in message.get("headers", ()) if field[0].lower() != b"transfer-encoding"]
            message = {**message, "headers": headers}
            if all(name.lower() != b"content-length" for name, _ in headers):
                self.chunked_encoding, self.ends_with_connection = False, True
        elif self.ends_with_connection:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
