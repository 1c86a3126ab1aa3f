"""Routes that skip FastAPI's stack: in OpenAPI as any other, served as a bare ASGI callable before routing begins.

For paths of the form `/prefix/{name}` only, and only where a measurement asks for it (docs/hot-path.md).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brigade.telemetry import tracing
from brigade.telemetry.loop_watch.stacks import is_layer

is_layer(__file__)

F = TypeVar("F", bound=Callable[..., Any])

BEFORE_ANSWER, ANSWER = "service.before_answer", "service.answer"
"""ASGI extensions of brigade.server.protocol, which cannot import this."""

ATTEMPT = "attempt"


class Attempt(NamedTuple):
    """A lookup that has been begun for a request: in the scope of one whose shortcut led nowhere, and done then."""

    lookup: "asyncio.Future[Any]"
    began_s: float
    """Start of the request, by `time.perf_counter`."""


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A handler that `brigade.web.shortcuts` can do without a task: to make one and to resume it costs as much as all the rest."""

    look_up: "Callable[[Scope], asyncio.Future[Any] | None]"
    """Return what to wait for, or None if the request is for `otherwise`. The scope is as the server made it: it has no `app`, and
    its `client` may be a proxy.
    """
    reply: Callable[[Scope, Any], Message | None]
    """The `answer` to what was found, at once. None, and whatever is raised, leave the request to `otherwise`."""
    otherwise: ASGIApp | None = None
    """The application for requests that the two do not serve. Without it the same two run in a task, which answers problems."""
    waits_for: tracing.Kind = "redis"
    """The store for which the lookup waits, in the request's line of the log."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Serve a request by a task, without `otherwise`."""
        attempt: Attempt | None = scope.get(ATTEMPT)
        lookup = attempt.lookup if attempt else self.look_up(scope)
        message = self.reply(scope, await lookup) if lookup is not None else None
        if message is None:
            raise HTTPException(404)
        await send(message)


def served_by(handler: ASGIApp) -> Callable[[F], F]:
    """Mark a path operation, whose signature and docstring are its documentation, as served by `handler`.

    `scope["path_params"]` holds the last segment of the path, still percent-encoded as far as the server left it.
    """

    def mark(endpoint: F) -> F:
        endpoint.__dict__["served_by"] = handler
        return endpoint

    return mark


def answer(
    status: int,
    headers: list[tuple[bytes, bytes]],
    body: bytes = b"",
    before: Callable[[], object] = lambda: None,
) -> Message:
    """A whole answer in one message, to `send` or to return from a shortcut. Its length is added.

    `before` is called when it is ready, right before its first byte goes to the kernel: docs/decisions/0005 says why there.
    """
    headers.append((b"content-length", b"%d" % len(body)))
    return {"type": ANSWER, "status": status, "headers": headers, "body": body, "before": [before]}


def deliver(scope: Scope, send: Send, message: Message, count: Callable[[], None]) -> Awaitable[None]:
    """The head of an answer or the whole of one, counted as `before` says. Under another server than our own protocol
    in the two messages of ASGI, and counted now.
    """
    extensions = scope.get("extensions", {})
    if message["type"] == ANSWER:
        message["before"].append(count)
        return extensions[ANSWER](message) if ANSWER in extensions else _deliver_in_two(send, message)
    extensions.get(BEFORE_ANSWER, _now)(count)
    return send(message)


def _now(count: Callable[[], None]) -> None:
    count()


async def _deliver_in_two(send: Send, message: Message) -> None:
    for call in message["before"]:
        call()
    await send({"type": "http.response.start", "status": message["status"], "headers": message["headers"]})
    await send({"type": "http.response.body", "body": message["body"]})


class HotRoute(APIRoute):
    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        handler: ASGIApp = endpoint.__dict__["served_by"]
        self.shortcut = handler if isinstance(handler, Shortcut) else None
        self.served_by = (self.shortcut and self.shortcut.otherwise) or handler
        self.hot_prefix, _, last = path.rpartition("/")
        if not (last.startswith("{") and last.endswith("}")) or "{" in self.hot_prefix:
            raise ValueError(f"{path} is not /prefix/{{name}}: a hot route has one parameter, at its end")
        self.parameter = last[1:-1]
        documented = self.methods or set()
        self.hot_methods = documented | ({"HEAD"} if "GET" in documented else set())

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in self.hot_methods:
            await self.served_by(scope, receive, send)
        else:
            await super().handle(scope, receive, send)


class HotPaths:
    """Hands a request to the hot route of its prefix and method, any other to `app`."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self.app = app
        self.routes = {route.hot_prefix: route for route in routes if isinstance(route, HotRoute)}

    def find(self, scope: Scope) -> HotRoute | None:
        prefix, _, last = scope["path"].rpartition("/")
        route = self.routes.get(prefix)
        if route is None or not last or scope["method"] not in route.hot_methods:
            return None
        scope["route"] = route
        scope["path_params"] = {route.parameter: last}
        return route

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Not a coroutine itself: what is awaited is the route."""
        if scope["type"] == "http" and (route := self.find(scope)) is not None:
            tracing.name_request(scope, route.path)
            return route.served_by(scope, receive, send)
        return self.app(scope, receive, send)
