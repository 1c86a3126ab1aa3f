"""The bounds of one request: bytes of body, and seconds. This layer is pure ASGI, inside the access log.

Starlette's own body limit answers in plain text and outside all middleware, unseen by log and metrics.
"""

import asyncio
import math

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brigade.deadline import Clock, Deadline
from brigade.errors import ContentTooLarge, RequestTimeout, UnsupportedCoding
from brigade.headers import content_codings, declared_bytes, has_content
from brigade.outgoing.deadline import request_deadline
from brigade.telemetry.loop_watch.stacks import is_layer
from brigade.web.limits import Limits, LimitsByRoute
from brigade.web.problems import render

is_layer(__file__)


class Guards:
    """The application has `timeout_s` of the route to begin its answer, and the client `body_timeout_s` to send a body.
    Neither is charged for the time that the other takes.
    """

    def __init__(self, app: ASGIApp, *, limits: LimitsByRoute, body_timeout_s: float) -> None:
        self.app = app
        self.limits = limits
        self.body_timeout_s = body_timeout_s
        self._clock = Clock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        limits = self.limits.of(scope)
        if declared_bytes(scope["headers"]) > limits.max_body_bytes:
            return await render(too_large(limits.max_body_bytes))(scope, receive, send)
        deadline = Deadline(self._clock, limits.timeout_s)
        request = GuardedRequest(scope, deadline, limits, self.body_timeout_s, receive, send)
        request_deadline.set(deadline)
        try:
            with deadline:
                await self.app(scope, request.receive, request.send)
        except ClientDisconnect:
            if not request.disconnected:
                raise
        except TimeoutError:
            if request.started or not deadline.expired:
                raise
            await render(request.too_late())(scope, receive, send)


class GuardedRequest:
    """A request that the application works on, and what it has taken so far."""

    def __init__(  # noqa: PLR0913, PLR0917 - by place, as a request pays for each name
        self, scope: Scope, deadline: Deadline, limits: Limits, body_timeout_s: float, receive: Receive, send: Send
    ) -> None:
        self.deadline = deadline
        self._scope = scope
        self._receive = receive
        self._send = send
        self._limits = limits
        self._body_timeout_s = body_timeout_s
        self._received_bytes = 0
        self._body_left_s = body_timeout_s
        self._body_complete = False
        self.awaits_body = self.started = self.disconnected = False

    def too_late(self) -> RequestTimeout:
        if self.awaits_body:
            return RequestTimeout(f"The body did not come within {self._body_timeout_s:g} s.")
        return RequestTimeout(f"No answer within {self._limits.timeout_s:g} s.")

    async def receive(self) -> Message:
        until_s = self.deadline.when()
        if self._body_complete or until_s is None:
            return self._note(await self._receive())
        if not self._received_bytes:
            refuse_coded(self._scope)
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        self.deadline.move(began_s + self._body_left_s)
        self.awaits_body = True
        message = await self._receive()
        self.awaits_body = False
        waited_s = now_s() - began_s
        self._body_left_s -= waited_s
        self.deadline.move(until_s + waited_s)
        return self._note(message)

    def _note(self, message: Message) -> Message:
        self.disconnected |= message["type"] == "http.disconnect"
        self._body_complete = not message.get("more_body", False)
        self._received_bytes += len(message.get("body", b""))
        if self._received_bytes > self._limits.max_body_bytes:
            raise too_large(self._limits.max_body_bytes)
        return message

    async def send(self, message: Message) -> None:
        """An answer that has begun, a stream say, may take its time. Nobody reads one after the client has left."""
        if not self.started:
            if self.disconnected:
                return
            self.started = True
            self.deadline.move(math.inf)
        await self._send(message)


def too_large(most: int) -> ContentTooLarge:
    return ContentTooLarge(f"A body may have {most} bytes at most.", headers={"Connection": "close"})


def refuse_coded(scope: Scope) -> None:
    """FastAPI would read the bytes as they came. A route that takes the bare request may decode it as it likes.

    Raises:
        UnsupportedCoding: the body has a content coding, and the route has a body that FastAPI reads.
    """
    headers, is_read = scope["headers"], getattr(scope.get("route"), "body_field", None) is not None
    if is_read and (codings := content_codings(headers)) and has_content(headers):
        sent = b", ".join(codings).decode("latin-1")
        raise UnsupportedCoding(
            f"Send the body as it is, without Content-Encoding: {sent}.", headers={"Accept-Encoding": "identity"}
        )
