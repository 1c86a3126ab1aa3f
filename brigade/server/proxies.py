"""Reads what a trusted proxy says of its client, as uvicorn's own middleware does, in every spelling of a scheme."""

from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from brigade.headers import Header

NAME = b"x-forwarded-proto"
AS_HTTP = {b"ws": b"http", b"wss": b"https"}
"""Traefik names a WebSocket's scheme. uvicorn makes one of HTTP's where it needs it."""


class ProxyHeaders(ProxyHeadersMiddleware):
    """Plain uvicorn takes a scheme in lower case and alone. Some proxies write it in upper case, and several in a row make a
    list, which begins with what the client used.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan" and any(name == NAME for name, _ in scope["headers"]):
            scope["headers"] = [_plain(field) if field[0] == NAME else field for field in scope["headers"]]
        await super().__call__(scope, receive, send)


def _plain(field: Header) -> Header:
    scheme = field[1].partition(b",")[0].strip().lower()
    return NAME, AS_HTTP.get(scheme, scheme)
