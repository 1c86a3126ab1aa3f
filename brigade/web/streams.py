"""WebSockets on their way to the application: who may open one, how many there are, and a line of the log at the end of each."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import structlog
from fastapi.routing import RouteContext
from starlette.datastructures import Headers
from starlette.routing import WebSocketRoute, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from brigade.cancellation import must_end
from brigade.errors import Problem
from brigade.headers import Header
from brigade.server.lifecycle import lifecycle
from brigade.server.streams import streams
from brigade.settings import Settings
from brigade.telemetry import metrics, socket_spans
from brigade.telemetry.access_log import PATH_SHOWN
from brigade.telemetry.logs import request_id
from brigade.web.observe import identify
from brigade.web.problems import render
from brigade.web.root_path import without_prefix

ABNORMAL, SERVICE_RESTART = 1006, 1012
CLOSE_CODE = "service.close_code"
"""The ASGI extension of brigade.server.websocket: what the connection itself knows of its end."""
DENIAL = "websocket.http.response"

log = structlog.get_logger("service.streams")


class NoRoom(Problem):
    status, type, title = 503, "urn:problem:crowded", "Too many streams at once"


class Forbidden(Problem):
    status, type, title = 403, "urn:problem:foreign-origin", "Pages of this origin may not connect"


class NotOpened(Problem):
    status, type, title = 403, "urn:problem:not-opened", "The WebSocket is not opened"


def crowded(most: int) -> NoRoom | None:
    """Return why there is no room for one more stream."""
    if streams.count < most:
        return None
    return NoRoom(f"{most} streams are open already.", headers={"Retry-After": "1"})


def leaving() -> NoRoom:
    return NoRoom("This worker is leaving.", headers={"Retry-After": "1", "Connection": "close"})


class WebSockets:
    """`app` is FastAPI itself. Nothing of this is on the way of a request."""

    def __init__(self, app: ASGIApp, routes: Iterable[RouteContext], settings: Settings, worker: str | None) -> None:
        self.app = app
        paths = [each.path for each in routes if each.path and isinstance(each.route, WebSocketRoute)]
        self.paths = [compile_path(path)[0].match for path in paths]
        self._settings = settings
        self._worker = [(b"x-worker", worker.encode())] if worker else []

    def has(self, scope: Scope) -> bool:
        """Whether there is a WebSocket at this address. If not, the server declines the upgrade and goes on in HTTP."""
        path = without_prefix(scope["path"], self._settings.root_path)
        return any(matches(path) for matches in self.paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id.set((identifier := identify(scope)).decode())
        reason = self._refusal(scope)
        if reason is not None:
            streams.refused[reason.type.rpartition(":")[2]] += 1
            log.info("websocket refused", status=reason.status, path=scope["path"][:PATH_SHOWN], detail=reason.detail)
            await deny(reason, scope, receive, send)
            return
        one = OneWebSocket(scope, receive, send, [(b"x-request-id", identifier), *self._worker])
        with streams.held("websocket"), socket_spans.traced(scope):
            try:
                await one.serve(self.app, self._settings.request_timeout_s)
            finally:
                one.log_end()

    def _refusal(self, scope: Scope) -> Problem | None:
        origins, headers = self._settings.cors_origins, Headers(scope=scope)
        origin = headers.get("origin", "").lower()
        own = origin.partition("://")[2] == headers.get("host", "").lower()
        if origins and origin and origin not in origins and not own:
            return Forbidden("CORS_ORIGINS does not name the origin of the page.")
        return leaving() if lifecycle.leaving else crowded(self._settings.max_streams)


class OneWebSocket:
    def __init__(self, scope: Scope, receive: Receive, send: Send, headers: list[Header]) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._headers = headers
        self._began_s = time.perf_counter()
        self._accepted = self._closed = False
        self._code = ABNORMAL
        self._status = 0

    async def serve(self, app: ASGIApp, timeout_s: float) -> None:
        """Raises nothing of the application's: an error is logged here, and the client is told."""
        try:
            async with asyncio.timeout(timeout_s) as self._deadline:
                await app(self._scope, self.receive, self.send)
        except BaseException as error:
            if must_end(error):
                raise
            if not (self._closed and _tells_of_the_end(error)):
                await self._fail(error)
        else:
            if not (self._status or self._closed):
                await self._fail(RuntimeError("The handler has neither accepted nor closed the WebSocket."))

    async def _fail(self, error: BaseException) -> None:
        log.error("unhandled error", path=self._scope["path"][:PATH_SHOWN], exc_info=error)
        if not self._accepted:
            problem = Problem("The error has been logged under this request id.")
            if self._deadline.expired():
                problem = NoRoom("The WebSocket was not accepted in time.", headers={"Retry-After": "1"})
            await deny(problem, self._scope, self._receive, self.send)
        elif not self._closed:
            await self.send({"type": "websocket.close", "code": socket_spans.INTERNAL_ERROR})

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.disconnect" and not self._closed:
            self._closed, self._code = True, message.get("code", ABNORMAL)
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.close" and not self._accepted and DENIAL in self._scope.get("extensions", {}):
            await deny(NotOpened(message.get("reason") or ""), self._scope, self._receive, self.send)
            return
        if kind == "websocket.accept" and lifecycle.leaving:
            await deny(leaving(), self._scope, self._receive, self.send)
            self._closed = True
            raise WebSocketDisconnect(SERVICE_RESTART)
        if kind in {"websocket.accept", "websocket.http.response.start"}:
            message["headers"] = [*message.get("headers", ()), *self._headers]
        try:
            await self._send(message)
        except OSError:  # the client has gone
            self._closed = True
            raise
        self._note(message)

    def _note(self, message: Message) -> None:
        """Note what has been sent; a server refuses some codes and headers."""
        match message["type"]:
            case "websocket.accept":
                self._accepted, self._status = True, 101
                self._deadline.reschedule(None)
            case "websocket.http.response.start":
                self._status = message["status"]
            case "websocket.close":
                self._closed, self._code = True, message.get("code", 1000)
                self._status = self._status or 403

    def log_end(self) -> None:
        scope, route = self._scope, self._scope.get("route")
        ask: Any = scope.get("extensions", {}).get(CLOSE_CODE)
        code = None if not self._accepted else ask() if ask is not None else self._code
        client, duration_s = scope.get("client"), time.perf_counter() - self._began_s
        if self._accepted:
            metrics.held.add(duration_s)
        status = self._status or 499
        socket_spans.ended(route.path if route else "", status, code)
        log.info(
            "websocket",
            path=scope["path"][:PATH_SHOWN],
            route=route and route.path,
            status=status,
            code=code,
            duration_ms=round(duration_s * 1000, 2),
            client=client and client[0][:PATH_SHOWN],
            **({"key": scope["key"]} if "key" in scope else {}),
        )


def _tells_of_the_end(error: BaseException) -> bool:
    """Whether this is how the application learned that its client has gone, perhaps in several tasks."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_tells_of_the_end, error.exceptions))
    return isinstance(error, OSError | WebSocketDisconnect)


async def deny(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the handshake, by a server that can; one that cannot answers 403."""
    if DENIAL in scope.get("extensions", {}):
        await render(problem)(scope, receive, send)
    else:
        await send({"type": "websocket.close"})
