"""Requests that offer another protocol. They become a WebSocket where the application has one, and stay HTTP/1.1 elsewhere."""

from collections.abc import Callable
from functools import partial
from typing import Any

import httptools

from brigade.headers import Header
from brigade.server.answer_heads import as_lines
from brigade.server.connection import Reading
from brigade.server.refusals import Refused
from brigade.server.requests import RequestReader, new_parser
from brigade.settings import Settings

TOO_EARLY = "A client sends nothing on a WebSocket before it is open (RFC 6455, 4.1)."


class UpgradeReader(RequestReader):
    def __init__(self, *args: Any, settings: Settings, **kwargs: Any) -> None:
        super().__init__(*args, settings=settings, **kwargs)
        self._has_websocket: Callable[[Any], bool] | None = self.app_state.get("service.has_websocket")
        """Whether the application has one for a scope. The application hands it over as `service.has_websocket`."""

    def meet_upgrade(self, rest: bytes) -> None:
        scope = self._offered_websocket()
        if scope is None:
            self._decline_upgrade(rest)
        elif rest:
            raise Refused(400, TOO_EARLY)
        else:
            self._open_websocket(scope)

    def _offered_websocket(self) -> Any:
        """The scope of the WebSocket that is offered and that the application has, or None."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if self._has_websocket is None or self.answering is not None or (method, version) != (b"GET", "1.1"):
            return None
        if not _is_handshake(self.headers):
            return None
        self.sizes.end_head(self.url, self.headers)
        scope = self._make_scope(version, self.headers) | {"type": "websocket"}
        del scope["extensions"]
        return scope if self._has_websocket({**scope}) else None

    def _open_websocket(self, scope: Any) -> None:
        """Hand the connection over, and leave nothing of it here."""
        from brigade.server.handshake import check_handshake  # noqa: PLC0415 - 3 MB that only WebSockets need
        from brigade.server.websocket import WebSocket  # noqa: PLC0415 - the same

        check_handshake(scope["headers"])
        self._cancel_deadline()
        self._unset_keepalive_if_required()
        self.reading = Reading.NOTHING
        self.connections.discard(self)
        self.forget_request()
        self.extensions = {}
        del self.output
        make = partial(WebSocket, self.config, self.server_state, self.app_state, self.loop)
        make(scope=scope, patience_s=self._settings.body_timeout_s).begin(self.transport)

    def _decline_upgrade(self, rest: bytes) -> None:
        """Parse the head again without its Upgrade field, because a server goes on in HTTP/1.1 if it does not speak the
        protocol that the client offers (RFC 9110, 7.8). The parser takes a request that offers one to have no body,
        and would read the body as the next request.
        """
        while True:
            version, method = self.parser.get_http_version().encode(), self.parser.get_method()
            fields = [field for field in self.headers if field[0] != b"upgrade"]
            self.parser = new_parser(self)
            self.parser.feed_data(b"%s %s HTTP/%s\r\n%s" % (method, self.url, version, as_lines(fields)))
            try:
                self.parser.feed_data(rest)
                break
            except httptools.HttpParserUpgrade as upgrade:  # that of the next request
                rest = rest[upgrade.args[0] :]


def _is_handshake(headers: list[Header]) -> bool:
    """Whether this is a WebSocket and nothing else that is offered, without a body (RFC 6455, 4.1)."""
    offers = [value.lower() for name, value in headers if name == b"upgrade"]
    return offers == [b"websocket"] and not any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers
    )
