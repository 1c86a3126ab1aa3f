"""The address of the client, behind proxies that are trusted to name it."""

from collections.abc import MutableMapping
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

Address = tuple[str, int]


class ClientAddress:
    """Tells what uvicorn tells the application, for requests that do not pass through uvicorn's middleware."""

    def __init__(self, trusted_proxies: str) -> None:
        self._trusted = ProxyHeadersMiddleware(_nobody, trusted_proxies).trusted_hosts

    def of(self, scope: MutableMapping[str, Any]) -> Address | None:
        peer: Address | None = scope.get("client")
        if (peer[0] if peer else None) not in self._trusted:
            return peer
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        if forwarded:
            address: Address = self._trusted.get_trusted_client_address(b", ".join(forwarded).decode("latin-1"))
            if address[0]:
                return address
        return peer


async def _nobody(*_: Any) -> None:
    """Stands for the application."""
