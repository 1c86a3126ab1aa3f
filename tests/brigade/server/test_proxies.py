"""The scheme that a proxy tells of, in the ways in which proxies write it."""

import asyncio
from typing import Any

import pytest

from brigade.server.proxies import ProxyHeaders


async def scheme_of(kind: str, peer: str, said: list[bytes]) -> str:
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    headers = [(b"host", b"a"), *((b"x-forwarded-proto", each) for each in said)]
    scope = {"type": kind, "scheme": "http" if kind == "http" else "ws", "client": (peer, 1), "headers": headers}
    await ProxyHeaders(app, "127.0.0.1")(scope, None, None)
    return str(seen[0]["scheme"])


@pytest.mark.parametrize("said", [b"https", b"HTTPS", b"https,http", b"https, https", b"wss", b" https "])
def test_every_spelling_of_https_is_https(said: bytes) -> None:
    assert asyncio.run(scheme_of("http", "127.0.0.1", [said])) == "https"
    assert asyncio.run(scheme_of("websocket", "127.0.0.1", [said])) == "wss"


@pytest.mark.parametrize("said", [[], [b""], [b"http"], [b"http, https"], [b"javascript"], [b","]])
def test_nothing_else_is(said: list[bytes]) -> None:
    assert asyncio.run(scheme_of("http", "127.0.0.1", said)) == "http"


def test_a_stranger_is_not_believed() -> None:
    assert asyncio.run(scheme_of("http", "192.0.2.7", [b"HTTPS"])) == "http"
