"""A small HTTP client for load: as fast as it can, or at a fixed rate whatever the server does.

At a fixed rate a request that could not be sent in time, as the one before it was not answered, counts from when it was
due: a server that freezes cannot hide the requests that nobody could send meanwhile.
"""

import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TIMEOUT_S = 20.0
NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Result:
    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: int

    @property
    def rps(self) -> float:
        return self.requests / self.seconds


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]


class Connection:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: str) -> "Connection":
        host, port = urlsplit(url).hostname, urlsplit(url).port
        return cls(*await asyncio.wait_for(asyncio.open_connection(host, port), TIMEOUT_S))

    async def send(self, request: bytes) -> Answer:
        """Raises OSError or EOFError where the connection ends before the answer."""
        if self._writer.is_closing():  # reset since it was opened: uvloop would raise RuntimeError
            raise ConnectionResetError("the server has reset the connection")
        self._writer.write(request)
        async with asyncio.timeout(TIMEOUT_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            await self._reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(first.split(" ")[1]), headers)

    def close(self) -> None:
        self._writer.close()


def get(path: str, headers: Mapping[str, str] = NONE) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{_lines(headers)}\r\n".encode()


def post_link(url: str, headers: Mapping[str, str] = NONE) -> bytes:
    body = f'{{"url": "{url}"}}'
    head = _lines({"Content-Type": "application/json", "Content-Length": f"{len(body)}", **headers})
    return f"POST /links HTTP/1.1\r\nHost: localhost\r\n{head}\r\n{body}".encode()


def _lines(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


@dataclass
class Load:
    """`rate` is of all connections together; without it each sends as soon as it has been answered."""

    requests: Iterator[bytes]
    connections: int
    seconds: float
    rate: float | None = None
    latencies_s: list[float] = field(default_factory=list)
    errors: int = 0

    async def run(self, url: str) -> Result:
        self.started = time.perf_counter()
        await asyncio.gather(*[self._keep_sending(url, number) for number in range(self.connections)])
        seconds = time.perf_counter() - self.started
        percentiles = statistics.quantiles(self.latencies_s or [0.0, 0.0], n=100, method="inclusive")
        p50, p99, most = (
            1000 * value for value in (percentiles[49], percentiles[98], max(self.latencies_s, default=0))
        )
        return Result(len(self.latencies_s), seconds, p50, p99, most, self.errors)

    async def _keep_sending(self, url: str, number: int) -> None:
        connection = await Connection.open(url)
        every_s = self.connections / self.rate if self.rate else 0.0
        due = self.started + every_s * number / self.connections
        while (begun := time.perf_counter()) < self.started + self.seconds:
            if due > begun:
                await asyncio.sleep(due - begun)
                begun = time.perf_counter()  # our own timer's lateness is not the server's
            elif self.rate:
                begun = due
            answer = await connection.send(next(self.requests))
            self.latencies_s.append(time.perf_counter() - begun)
            self.errors += answer.status >= 400
            due += every_s
        connection.close()


def in_turn(paths: Sequence[str], headers: Mapping[str, str] = NONE) -> Iterator[bytes]:
    return itertools.cycle([get(path, headers) for path in paths])


def new_links(headers: Mapping[str, str] = NONE) -> Iterator[bytes]:
    run = time.time_ns()
    return (post_link(f"https://example.com/{run:x}/{number}", headers) for number in itertools.count())
