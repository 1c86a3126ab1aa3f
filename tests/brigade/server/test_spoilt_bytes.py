"""The protocol class on bytes that nobody would send: well-formed requests, some of them spoilt, in pieces of any size.

On a real loop and real sockets, in this process, so that thousands of connections take seconds. Whatever comes: every
request before the spoilt one is answered as it asked, what is sent back is HTTP, and the connection ends.
"""

import asyncio
import hashlib
import json
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import uvicorn
import uvloop
from hypothesis import HealthCheck, Phase, given, note
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from brigade.server import output as output_module
from brigade.server.admission import AdmittingProtocol, admission, paused, probes
from brigade.server.lifecycle import lifecycle
from brigade.server.memory import memory
from brigade.settings import Settings
from tests.length import TIMES

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(120 * TIMES)]

PATIENCE_S = 20
QUICK_S = 0.1
"""For clients that say no end and are let go; each of them takes as long, so they are few and send all at once."""
REFUSALS = {400, 408, 413, 414, 431, 501, 503, 505}
OFFER = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
WORDS = [
    *(b"\r\n", b"\n", b"\r", b"\0", b"\xff", b" ", b":", b"\r\n\r\n", b"0\r\n\r\n", b"1\r\nx\r\n", b"ffffffffffffffff\r\n"),
    *(b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n", b"Content-Length: 1,1\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding:\x0bchunked\r\n"),
    *(b"Expect: 100-continue\r\n", b"Connection: close\r\n", OFFER, b"Host: b\r\n", b" folded\r\n"),
    *(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/2.0", b"HTTP/1.0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"a" * 3000),
]  # fmt: skip


@dataclass(frozen=True)
class Sent:
    method: str
    path: str
    body: bytes
    chunks: tuple[int, ...] | None
    """Lengths to cut the body into, or a Content-Length."""
    headers: tuple[bytes, ...]

    def wire(self) -> bytes:
        head = b"%s %s HTTP/1.1\r\nHost: a\r\n%s" % (self.method.encode(), self.path.encode(), b"".join(self.headers))
        if self.chunks is None:
            return head + (b"Content-Length: %d\r\n" % len(self.body) if self.body else b"") + b"\r\n" + self.body
        parts: list[bytes] = []
        rest = self.body
        for length in (*self.chunks, len(self.body)):
            parts, rest = [*parts, rest[:length]], rest[length:]
        chunks = b"".join(b"%x;e=1\r\n%s\r\n" % (len(part), part) for part in parts if part)
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nTrailer: t\r\n\r\n"

    def echo(self) -> dict[str, str]:
        return {
            "method": self.method,
            "path": self.path.partition("?")[0],
            "body": hashlib.sha256(self.body).hexdigest(),
        }


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[bytes, bytes]
    body: bytes


requests = st.builds(
    Sent,
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT"]),
    path=st.sampled_from(["/", "/slow", "/early", "/stream", "/short", "/shy", "/livez", "/a?b=%zz&c"]),
    body=st.binary(max_size=300),
    chunks=st.none() | st.lists(st.integers(1, 40), max_size=4).map(tuple),
    headers=st.lists(
        st.sampled_from([b"A: b\r\n", b"X-Long: %s\r\n" % (b"y" * 500), b"Empty:\r\n", OFFER]), max_size=3
    ).map(tuple),
)
spoiling = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "again", "put", "end"]), st.integers(0, 999), st.integers(1, 60), st.sampled_from(WORDS)
    ),
    min_size=1,
    max_size=3,
)  # fmt: skip


def spoil(wire: bytes, changes: list[tuple[str, int, int, bytes]]) -> bytes:
    for kind, place, length, word in changes:
        at = place % (len(wire) + 1)
        before, part, after = wire[:at], wire[at : at + length], wire[at + length :]
        match kind:
            case "flip":
                wire = before + bytes(byte ^ length for byte in part[:1]) + part[1:] + after
            case "cut":
                wire = before + after
            case "again":
                wire = before + part + part + after
            case "put":
                wire = before + word + part + after
            case "end":
                wire = before
    return wire


class Shortcuts:
    """`/short` is answered without a task and without its body, `/shy` by the application after all."""

    def begin(self, scope: Any, finish: Any) -> bool:
        if scope["path"] not in {"/short", "/shy"}:
            return False
        said, headers = echo(scope, b"")
        message = {"status": 200, "headers": headers, "body": said, "before": []}
        asyncio.get_running_loop().call_soon(finish, message if scope["path"] == "/short" else None)
        return True


def echo(scope: Any, body: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    said = {"method": scope["method"], "path": scope["path"], "body": hashlib.sha256(body).hexdigest()}
    text = json.dumps(said).encode()
    return text, [(b"x-method", scope["method"].encode()), (b"content-length", b"%d" % len(text))]


async def app(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    if scope["path"] != "/early":
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
    if scope["path"] == "/for-ever":
        await asyncio.sleep(1000)
    if scope["path"] == "/slow":
        await asyncio.sleep(0.001)
    said, headers = echo(scope, body)
    if scope["path"] == "/stream":
        headers.pop()
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": said[:10], "more_body": True})
    await send({"type": "http.response.body", "body": said[10:]})


def parse(received: bytes) -> list[Answer]:
    """All of it must be answers."""
    answers = []
    while received:
        head, separator, received = received.partition(b"\r\n\r\n")
        assert separator, f"an answer without an end: {head!r}"
        line, *fields = head.split(b"\r\n")
        match = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [ -~]+", line)
        assert match, f"not a status line: {line!r}"
        assert all(re.fullmatch(rb"[!-9;-~]+: [\t -~]*", field) for field in fields), fields
        headers = dict(field.split(b": ", 1) for field in fields)
        status = int(match[1])
        if status == 100:
            continue
        body = b""
        if headers.get(b"x-method") != b"HEAD":
            if b"transfer-encoding" in headers:
                size = -1
                while size:
                    line, _, received = received.partition(b"\r\n")
                    size = int(line, 16)
                    body, received = body + received[:size], received[size:]
                    assert received[:2] == b"\r\n"
                    received = received[2:]
            else:
                length = int(headers[b"content-length"])
                body, received = received[:length], received[length:]
                assert len(body) == length, "an answer that is cut short"
        answers.append(Answer(status, headers, body))
    return answers


class Server:
    """With `full`, one request is in flight for as long as it lives, and there is room for no other."""

    def __init__(self, *, full: bool = False) -> None:
        self.loop = uvloop.new_event_loop()
        self.state = ServerState()
        self.config = uvicorn.Config(app, lifespan="off", access_log=False, log_config=None)
        self.config.timeout_keep_alive = QUICK_S  # type: ignore[assignment]
        self.settings = Settings(header_timeout_s=5, body_timeout_s=5, max_header_bytes=4096, max_body_bytes=2000)
        if full:
            self.settings = self.settings.model_copy(update={"max_in_flight": 1})
        self.quick = self.settings.model_copy(update={"header_timeout_s": QUICK_S, "body_timeout_s": QUICK_S})
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.in_flight: socket.socket | None = None
        if full:
            self.loop.run_until_complete(self._fill())

    async def _fill(self) -> None:
        ours, self.in_flight = socket.socketpair()
        await self.loop.create_connection(partial(self.protocol, ends=True), sock=ours)
        self.in_flight.send(b"GET /for-ever HTTP/1.1\r\nHost: a\r\n\r\n")
        while not admission.in_flight:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)

    def _is_over(self) -> bool:
        """Every other connection and task has ended."""
        most = 0 if self.in_flight is None else 1
        return len(self.state.connections) <= most and len(self.state.tasks) <= most

    def end(self) -> None:
        if self.in_flight is not None:
            self.in_flight.close()
            self.in_flight = None
            self.loop.run_until_complete(self._ended())
        assert lifecycle.connections == admission.in_flight == memory.held_bytes == 0
        assert not paused
        assert not any(slots.under_way for slots in probes.values())
        self.loop.close()

    async def _ended(self) -> None:
        for task in list(self.state.tasks):
            task.cancel()
        while not self._is_over():  # noqa: ASYNC110 - two sets of uvicorn's
            await asyncio.sleep(0.001)

    def protocol(self, *, ends: bool) -> AdmittingProtocol:
        settings = self.settings if ends else self.quick
        state = {"service.shortcuts": Shortcuts(), "service.probe_paths": frozenset({"/livez"})}
        return AdmittingProtocol(
            config=self.config, server_state=self.state, app_state=state, _loop=self.loop, settings=settings
        )

    def exchange(self, pieces: list[bytes], *, ends: bool) -> bytes:
        return self.loop.run_until_complete(asyncio.wait_for(self._exchange(pieces, ends=ends), PATIENCE_S))

    async def _exchange(self, pieces: list[bytes], *, ends: bool) -> bytes:
        ours, theirs = socket.socketpair()
        await self.loop.create_connection(partial(self.protocol, ends=ends), sock=ours)
        theirs.setblocking(False)
        received = bytearray()
        with theirs:
            with suppress(ConnectionError):  # refused already, and gone; what was answered can still be read
                for piece in pieces:
                    await self.loop.sock_sendall(theirs, piece)
                    await asyncio.sleep(0)
                if ends:
                    theirs.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while part := await self.loop.sock_recv(theirs, 65_536):
                    received += part
        while not self._is_over():  # noqa: ASYNC110 - two sets of uvicorn's
            await asyncio.sleep(0.001)
        return bytes(received)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output_module, "LINGER_S", 0.02)  # nobody here needs the time to hear a refusal
        yield server
    server.end()


def cut(wire: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({place % (len(wire) + 1) for place in cuts})
    return [wire[start:end] for start, end in zip([0, *places], [*places, len(wire)], strict=True)]


def check(server: Server, sent: list[Sent], tail: bytes, cuts: list[int], *, ends: bool) -> list[Answer]:
    pieces = cut(b"".join(each.wire() for each in sent) + tail, cuts if ends else [])
    note(f"{pieces!r}, ends: {ends}")
    received = server.exchange(pieces, ends=ends)
    note(f"received: {received!r}")
    assert not server.errors, server.errors.pop()
    answers = parse(received)
    assert len(answers) >= len(sent), f"{len(sent)} well-formed requests, {len(answers)} answers"
    for each, answer in zip(sent, answers, strict=False):
        assert answer.status == 200
        expected = each if each.path not in {"/early", "/short"} else replace(each, body=b"")
        assert each.method == "HEAD" or json.loads(answer.body) == expected.echo()
    for answer in answers[len(sent) :]:
        assert answer.status in REFUSALS | {200}
        if answer.status != 200:
            assert json.loads(answer.body)["status"] == answer.status
            assert answer is answers[-1]
    return answers


LOOK = hypothesis_settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    phases=[Phase.generate, Phase.shrink],
)


@given(sent=st.lists(requests, min_size=1, max_size=6), cuts=st.lists(st.integers(0, 5000), max_size=8))
@hypothesis_settings(LOOK, max_examples=200 * TIMES)
def test_well_formed_requests_are_all_answered_however_they_arrive(
    server: Server, sent: list[Sent], cuts: list[int]
) -> None:
    assert len(check(server, sent, b"", cuts, ends=True)) == len(sent)


tails = st.builds(
    lambda spoilt, changes, after: spoil(spoilt.wire(), changes) + b"".join(each.wire() for each in after),
    requests,
    spoiling,
    st.lists(requests, max_size=2),
)


@given(
    sent=st.lists(requests, max_size=3),
    tail=tails,
    cuts=st.lists(st.integers(0, 5000), max_size=6),
    ends=st.integers(0, 9999).map(lambda number: number % 97 != 53),
)
@hypothesis_settings(LOOK, max_examples=700 * TIMES)
def test_good_requests_are_answered_whatever_comes_after_them(
    server: Server, sent: list[Sent], tail: bytes, cuts: list[int], ends: bool
) -> None:
    check(server, sent, tail, cuts, ends=ends)


@given(st.lists(st.binary(max_size=100) | st.sampled_from(WORDS), max_size=20))
@hypothesis_settings(LOOK, max_examples=200 * TIMES)
def test_noise_is_answered_or_ended(server: Server, pieces: list[bytes]) -> None:
    check(server, [], b"".join(pieces), [], ends=True)
