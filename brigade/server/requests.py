"""Reads requests from a connection: uvicorn's httptools protocol, with bounds in size."""

import re
from abc import abstractmethod
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from brigade.headers import Header, declared_bytes
from brigade.server.connection import Connection, Reading
from brigade.server.cycle import Cycle, Http10Cycle, Stage
from brigade.server.heads import check_head, split_target
from brigade.server.lifecycle import lifecycle
from brigade.server.memory import COLLECTED_BYTES
from brigade.server.refusals import Refused
from brigade.server.sizes import DISCARDED, SLICE_BYTES

NEXT, HEAD, BODY, NOTHING = Reading
"""To look a member up in its enum takes longer than to compare it."""


def new_parser(protocol: HttpToolsProtocol) -> httptools.HttpRequestParser:
    """A parser that reads what arrives after `Connection: close` too, as uvicorn's own does."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


_is_method = re.compile(rb"[\r\n]*[\w!#$%&'*+.^`|~-]+(?: |$)", re.ASCII).match
"""Whether a read begins with a method (RFC 9110, 5.6.2), or with the part of one that has come."""


def _reason(error: httptools.HttpParserError | Refused, data: bytes) -> Refused:
    """Return why the request is refused. This is a separate function, because binding the cause in the caller's frame would
    create a reference cycle that keeps the read buffer of 256 kB alive.
    """
    if isinstance(error, Refused):
        return error
    if isinstance(error, httptools.HttpParserInvalidMethodError) and _is_method(data):
        return Refused(501, "The method is not one that this server knows.")
    if not isinstance(error, httptools.HttpParserCallbackError):
        return Refused(400, f"This is not HTTP/1.1: {error}.")
    cause = error.__context__
    return cause if isinstance(cause, Refused) else Refused(400, "The target is not the path of a URL.")


class RequestReader(Connection):
    extensions: dict[str, Any]
    """The ASGI extensions that each scope of this connection has."""
    answering: Cycle | None = None
    """The request whose turn it is to be answered."""
    receiving: Cycle | None = None
    """The request whose body is being read."""

    @abstractmethod
    def accept(self, cycle: Cycle) -> None:
        """The head of a request has come."""

    @abstractmethod
    def begin_early(self) -> None:
        """More of a body has come, and not its end."""

    @abstractmethod
    def meet_upgrade(self, rest: bytes) -> None:
        """A head has come that offers another protocol, and `rest` behind it."""

    @abstractmethod
    def begin_complete(self, cycle: Cycle) -> None:
        """All of a request has come."""

    def data_received(self, data: bytes) -> None:
        if len(data) > SLICE_BYTES:
            for start in range(0, len(data), SLICE_BYTES):
                self.data_received(data[start : start + SLICE_BYTES])
            return
        if self.reading is NOTHING:
            return
        self.sizes.begin_slice(len(data))
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self.meet_upgrade(data[upgrade.args[0] :])
            if self.reading is BODY:
                self.sizes.add_to_body()
                self.begin_early()
            elif self.reading is HEAD:
                self.sizes.add_to_head(self.url, self.headers)
        except (httptools.HttpParserError, Refused) as error:
            self.refuse(_reason(error, data))
        else:
            if (
                self._deadline is None
                and self.reading is not NOTHING
                and (self.reading is not NEXT or self.answering is None)
            ):
                self._start_deadline()

    def on_message_begin(self) -> None:
        self.reading = HEAD
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Do as uvicorn does, but leave out the whitespace behind the value. It is no part of it (RFC 9112, 5.1), and the
        parser keeps it.
        """
        name, value = name.lower(), value.rstrip(b" \t")
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser, headers = self.parser, self.headers
        version = parser.get_http_version()
        check_head(headers, version)
        if parser.should_upgrade():
            if parser.get_method() == b"CONNECT":
                raise Refused(501, "This server is no proxy: it makes no tunnels.")
            return  # `feed_data` ends here, with HttpParserUpgrade
        self.sizes.end_head(self.url, headers)
        if self._deadline is not None:
            self._cancel_deadline()
        self.headers = DISCARDED
        self.receiving = cycle = self._make_cycle(version, headers)
        self.accept(cycle)
        self.reading = BODY

    def _make_scope(self, version: str, headers: list[Header]) -> Any:
        method = self.parser.get_method().decode("ascii")
        path, query = split_target(method, self.url, headers)
        text = path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": method,
            "root_path": self.root_path,
            "path": self.root_path + (unquote(text) if "%" in text else text),
            "raw_path": self.root_path.encode() + path,
            "query_string": query,
            "headers": headers,
            "state": self.app_state.copy(),
            "extensions": self.extensions,
        }

    def _make_cycle(self, version: str, headers: list[Header]) -> Cycle:
        is_old = version == "1.0"
        cycle = (Http10Cycle if is_old else Cycle)(
            self._make_scope(version, headers),
            self,
            keep_alive=self.parser.should_keep_alive() and not (is_old or lifecycle.leaving or lifecycle.surplus),
            waits_for_100=self.expect_100_continue and not is_old,
        )
        if lifecycle.surplus and not cycle.keep_alive:
            lifecycle.surplus -= 1
        return cycle

    def on_body(self, body: bytes) -> None:
        cycle = self.receiving
        assert cycle is not None
        self.sizes.add_chunk(len(body))
        if cycle.response_complete:
            return
        cycle.body += body
        cycle.hold(len(body), self.sizes.most_held)
        if len(cycle.body) > HIGH_WATER_LIMIT and not self._collects(cycle):
            self.flow.pause_reading()
        cycle.message_event.set()

    @staticmethod
    def _collects(cycle: Cycle) -> bool:
        expected_bytes = max(len(cycle.body), declared_bytes(cycle.scope["headers"]))
        return cycle.stage is Stage.WAITING and expected_bytes <= COLLECTED_BYTES

    def on_message_complete(self) -> None:
        if self.reading is not BODY:  # the parser takes it to end with its head, because it offers an upgrade
            return
        self.reading = NEXT
        self.sizes.end_message()
        if self._deadline is not None:
            self._cancel_deadline()
        cycle, self.receiving = self.receiving, None
        assert cycle is not None
        if not cycle.response_complete:
            cycle.more_body = cycle.waiting_for_100_continue = False
            cycle.message_event.set()
            self.begin_complete(cycle)
