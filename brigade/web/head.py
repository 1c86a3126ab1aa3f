"""Answers HEAD wherever there is a GET (RFC 9110, 9.3.2), which FastAPI does not."""

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brigade.telemetry.loop_watch.stacks import is_layer

is_layer(__file__)


class _HeadSent(OSError):
    """Ends a stream whose body nobody wants, as a client that leaves would. It may have no end, and cost much to read."""


class Head:
    """Asks the application as if the method were GET, and sends the head of its answer. It takes out `Range`, which only GET
    has (RFC 9110, 14.2).

    `has_own` tells whether a route serves HEAD itself.
    """

    def __init__(self, app: ASGIApp, has_own: Callable[[Scope], bool]) -> None:
        self.app = app
        self.has_own = has_own

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """This is not a coroutine: what is awaited is the application."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or self.has_own(scope):
            return self.app(scope, receive, send)
        return self._as_get(scope, receive, send)

    async def _as_get(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [field for field in scope["headers"] if field[0] != b"range"]
        as_get = {**scope, "method": "GET", "headers": headers}
        ended = False

        async def send_head(message: Message) -> None:
            nonlocal ended
            scope.update(as_get, method="HEAD")  # the log and the metrics ask which route it was
            if message.get("more_body"):
                ended = True
                await send({"type": "http.response.body", "body": b""})
                raise _HeadSent
            await send(message)  # a server leaves the body out

        try:
            await self.app(as_get, receive, send_head)
        except Exception:  # in whatever the stream has wrapped it: a group of its tasks, say
            if not ended:
                raise
