"""The address of the client, behind proxies that are trusted to name it."""

from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

Address = tuple[str, int]


class ClientAddress:
    """Tells what uvicorn tells the application, for requests that do not pass through uvicorn's middleware."""

    def __init__(self, trusted_proxies: str) -> None:
        self._trusted = ProxyHeadersMiddleware(_nobody, trusted_proxies).trusted_hosts
        self._trusts = lru_cache(4096)(self._trusted.__contains__)

    def of(self, scope: MutableMapping[str, Any]) -> Address | None:
        peer: Address | None = scope.get("client")
        if not self._trusts(peer[0] if peer else None):
            return peer
        forwarded = b""
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                forwarded = b"%s, %s" % (forwarded, value) if forwarded else value
        if not forwarded:
            return peer
        address: Address = self._trusted.get_trusted_client_address(forwarded.decode("latin-1"))
        return address if address[0] else peer


async def _nobody(*_: Any) -> None:
    """Stands for the application."""
