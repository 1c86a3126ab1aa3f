"""Reads what a trusted proxy says of its client, as uvicorn's own middleware does, in every spelling of a scheme."""

from collections.abc import Awaitable
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from brigade.headers import Header

NAME = b"x-forwarded-proto"
NAMES = frozenset((NAME, b"x-forwarded-for"))
AS_HTTP = {b"ws": b"http", b"wss": b"https"}
"""Traefik names a WebSocket's scheme. uvicorn makes one of HTTP's where it needs it."""


class ProxyHeaders(ProxyHeadersMiddleware):
    """Plain uvicorn takes a scheme in lower case and alone. Some proxies write it in upper case, and several in a row make a
    list, which begins with what the client used.
    """

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:  # type: ignore[override]
        """This is not a coroutine, and most requests do without uvicorn's: what is awaited is the application."""
        if scope["type"] != "lifespan":
            for name, _ in scope["headers"]:
                if name in NAMES:
                    scope["headers"] = [_plain(field) if field[0] == NAME else field for field in scope["headers"]]
                    return super().__call__(scope, receive, send)
        return self.app(scope, receive, send)


def _plain(field: Header) -> Header:
    scheme = field[1].partition(b",")[0].strip().lower()
    return NAME, AS_HTTP.get(scheme, scheme)
