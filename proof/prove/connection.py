"""A small HTTP/1.1 client that is not the bottleneck: one keep-alive connection, one request at a time, parsed in C."""

import asyncio
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from local.process import LocalError
from proof.prove.window import Load


class Answer(NamedTuple):
    status: int
    worker: str
    last: bool
    """The server closes the connection after it."""


class Address(NamedTuple):
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Address":
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise LocalError(f"This needs an http:// address, and {url} is none.")
        return cls(parts.hostname, parts.port or 80)


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._worker = ""
        self._answer: asyncio.Future[Answer] | None = None
        self._lost: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own does not inherit it

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.connection_lost(error)
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = exc or ConnectionResetError("the server closed the connection")
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError(str(self._lost)))

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-worker":
            self._worker = value.decode()

    def on_message_complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            answer = Answer(self._parser.get_status_code(), self._worker, not self._parser.should_keep_alive())
            self._answer.set_result(answer)

    async def ask(self, request: bytes) -> Answer:
        """Raises OSError where the connection ends before the answer."""
        if self._lost is not None:
            raise ConnectionResetError(str(self._lost))
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer


def get(path: str, host: str, *, close: bool = False) -> bytes:
    last = "Connection: close\r\n" if close else ""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{last}\r\n".encode()


def request_of(load: Load, host: str) -> bytes:
    """The bytes that each user of a load sends."""
    if not load.headers and not load.body and load.method == "GET":
        return get(load.path, host, close=load.fresh)
    body = load.body.encode()
    headers = [("Host", host), *load.headers, *([("Content-Length", str(len(body)))] if body else [])]
    lines = [f"{load.method} {load.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, *(["Connection: close"] if load.fresh else []), "", ""]).encode() + body


async def connect(address: Address) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, *address)
    return connection


async def ask_once(address: Address, path: str) -> Answer:
    """Ask once, on a new connection."""
    connection = await connect(address)
    try:
        return await connection.ask(get(path, address.host, close=True))
    finally:
        connection.transport.abort()


async def connect_to_each(address: Address, users: int, workers: int) -> list[Connection]:
    """Connections in equal numbers to each of `workers`; whatever comes after 30 tries for each."""
    kept: dict[str, list[Connection]] = {}
    most = -(-users // workers)
    for tries_left in range(30 * users, 0, -1):
        connection = await connect(address)
        name = (await connection.ask(get("/livez", address.host))).worker
        mine = kept.setdefault(name, [])
        if len(mine) < most or tries_left < users:
            mine.append(connection)
        else:
            connection.transport.abort()
        if sum(map(len, kept.values())) >= users:
            break
    return [connection for mine in kept.values() for connection in mine]
