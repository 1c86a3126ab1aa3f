"""WebSockets and event streams on real sockets: opened, bounded, counted, and told before the worker leaves."""

import asyncio
import json
import signal
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.brigade.server.clients import ask, exchange
from tests.brigade.server.conftest import Gunicorn, Start, one_worker
from tests.brigade.server.test_protocol import assert_problem, status

APP = "streaming:app"
BOUNDS = {
    "MAX_STREAMS": "5",
    "WS_MAX_MESSAGE_BYTES": "1000",
    "CORS_ORIGINS": "https://app.example",
    "WORKER_TIMEOUT_S": "20",
}
KEYS = {"API_KEYS": "team:opensesame"}
OFFER = b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
KEY = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    with one_worker(tmp_path_factory.mktemp("streams"), app=APP, **BOUNDS, **KEYS) as gunicorn:
        yield gunicorn


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """WebSockets that are open until the end of the test."""
    with ExitStack() as stack:
        yield stack


def opened(gunicorn: Gunicorn, path: str, **options: Any) -> ClientConnection:
    client: ClientConnection = connect(f"ws://127.0.0.1:{gunicorn.port}{path}", compression=None, **options)
    return client


def state_of(gunicorn: Gunicorn) -> dict[str, int]:
    return dict(json.loads(ask(gunicorn.port, "/state").partition(b"\r\n\r\n")[2]))


def close_code(client: ClientConnection) -> int | None:
    try:
        while True:
            client.recv(timeout=10)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


def listen(gunicorn: Gunicorn, path: str = "/events") -> bytes:
    """All of an event stream, to its end."""
    return exchange(
        gunicorn.port, b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path.encode(), timeout_s=30
    )


def lines_of(gunicorn: Gunicorn, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in gunicorn.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def test_websocket_is_counted_as_a_stream_and_logged_once_at_its_end(server: Gunicorn) -> None:
    with opened(server, "/echo") as client:
        client.send("a" * 1000)
        assert client.recv() == "a" * 1000
        assert client.response
        identifier = client.response.headers["x-request-id"]
        assert state_of(server) == {"streams": 1, "under_way": 1, "connections": 2}
        client.close(3333)
    server.until(lambda: state_of(server) == {"streams": 0, "under_way": 1, "connections": 1})
    (line,) = [line for line in lines_of(server, "websocket") if line["request_id"] == identifier]
    assert (line["code"], line["status"], line["path"], line["route"]) == (3333, 101, "/echo", "/echo")
    assert line["duration_ms"] > 0


@pytest.mark.parametrize(
    "offer",
    [
        OFFER % b"/" + KEY,
        OFFER.replace(b"GET", b"POST") % b"/echo" + b"Content-Length: 4\r\n\r\nbody",
        OFFER.replace(b"websocket", b"h2c, websocket") % b"/" + KEY,
        OFFER.replace(b"1.1", b"1.0") % b"/" + KEY,
    ],
    ids=["no WebSocket there", "not a GET", "also h2c", "HTTP/1.0"],
)
def test_what_is_no_websocket_of_ours_is_declined(server: Gunicorn, offer: bytes) -> None:
    answers = exchange(server.port, offer, b"GET /state HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b" 101 " not in answers
    assert answers.count(b"HTTP/1.1 ") == 1 + (b"1.0" not in offer)


@pytest.mark.parametrize(
    "handshake",
    [
        OFFER % b"/echo" + b"\r\n",
        OFFER % b"/echo" + b"Sec-WebSocket-Key: abc\r\n\r\n",
        OFFER % b"/echo" + KEY.replace(b"\r\n", b"\r\nSec-WebSocket-Protocol: a b\r\n", 1),
        OFFER.replace(b"Sec-WebSocket-Version: 13\r\n", b"") % b"/echo" + KEY,
        OFFER % b"/echo" + KEY + b"\x81\x00",
    ],
    ids=["no key", "short key", "subprotocol", "no version", "frame before its time"],
)
def test_handshake_is_checked(server: Gunicorn, handshake: bytes) -> None:
    assert_problem(exchange(server.port, handshake), 400)


@pytest.mark.parametrize("name", [b"Protocol", b"Extensions"])
def test_handshake_with_a_field_that_is_too_long_is_refused(server: Gunicorn, name: bytes) -> None:
    field = b"Sec-WebSocket-%s: %s\r\n" % (name, b"a" * 10_000)
    assert_problem(exchange(server.port, OFFER % b"/echo" + field + KEY), 431)


def test_frames_before_the_answer_to_the_handshake_are_refused(server: Gunicorn) -> None:
    server.until(lambda: state_of(server)["streams"] == 0)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(OFFER % b"/hesitant" + KEY)
        server.until(lambda: state_of(server)["streams"] == 1)
        client.sendall(b"\x89\x84\0\0\0\0ping")
        assert_problem(b"".join(iter(lambda: client.recv(4096), b"")), 400)
    server.until(lambda: state_of(server)["streams"] == 0)


def test_another_version_is_told_ours(server: Gunicorn) -> None:
    answer = exchange(server.port, OFFER.replace(b"13", b"8") % b"/echo" + KEY)
    assert_problem(answer, 426)
    head = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert {b"sec-websocket-version: 13", b"upgrade: websocket", b"connection: upgrade", b"connection: close"} <= set(
        head
    )


@pytest.mark.parametrize(("path", "wanted"), [(b"/numbered/one", 422), (b"/numbered/1", 403)])
def test_a_websocket_that_is_not_opened_is_a_problem(server: Gunicorn, path: bytes, wanted: int) -> None:
    answer = exchange(server.port, OFFER % path + KEY)
    assert (status(answer), b"application/problem+json" in answer) == (wanted, True)
    assert (b"There is no 1." if wanted == 403 else b"path/number") in answer


def test_text_that_is_no_utf8_closes_with_1007_and_is_no_error(server: Gunicorn) -> None:
    with opened(server, "/echo") as client:
        client.send(b"\xe6\xff", text=True)
        assert close_code(client) == 1007
    assert "Traceback" not in server.log()


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        *(("https://app.example", True), ("http://a", True), (None, True)),
        *(("https://evil.example", False), ("null", False), ("http://[a", False)),
    ],
)
def test_origin_must_be_named_or_be_the_service_itself(server: Gunicorn, origin: str | None, allowed: bool) -> None:
    head = OFFER % b"/echo" + (b"Origin: %s\r\n" % origin.encode() if origin else b"") + KEY
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(head)
        answer = client.recv(4096)
    assert status(answer) == (101 if allowed else 403)
    if not allowed:
        assert b"application/problem+json" in answer


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        (b"X-API-Key: opensesame\r\n", 101),
        (b"Authorization: Bearer opensesame\r\n", 101),
        (b"X-API-Key: wrong\r\n", 401),
        (b"", 401),
    ],
)
def test_a_websocket_can_require_a_key(server: Gunicorn, field: bytes, wanted: int) -> None:
    seen = len(lines_of(server, "websocket"))
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(OFFER % b"/keyed" + field + KEY)
        answer = client.recv(4096)
    assert status(answer) == wanted
    server.until(lambda: len(lines_of(server, "websocket")) > seen)
    line = lines_of(server, "websocket")[-1]
    assert (line["status"], line.get("key")) == (wanted, "team" if wanted == 101 else None)
    if wanted == 401:
        assert b"application/problem+json" in answer
        assert b"www-authenticate: Bearer" in answer


@pytest.mark.parametrize("path", ["/echo", "/events"])
def test_one_stream_more_than_there_may_be_is_answered_503(server: Gunicorn, path: str) -> None:
    server.until(lambda: state_of(server)["streams"] == 0)
    with ExitStack() as held:
        for _ in range(5):
            held.enter_context(opened(server, "/echo"))
        answer = exchange(server.port, OFFER % b"/echo" + KEY) if path == "/echo" else listen(server)
    assert status(answer) == 503
    assert b"retry-after: 1\r\n" in answer
    assert b"urn:problem:crowded" in answer
    server.until(lambda: state_of(server)["streams"] == 0)


def test_handler_that_ends_says_so(server: Gunicorn) -> None:
    with opened(server, "/once") as client:
        assert close_code(client) == 1000


def test_handler_that_fails_says_so_and_ends_no_worker(start: Start) -> None:
    # An error is a traceback in the log. On a busy machine a worker that waits for the CPU is not to be replaced.
    gunicorn = start(app=APP, WORKER_TIMEOUT_S="20")
    for path in ("/broken", "/exit", "/wrong-code"):
        with opened(gunicorn, path) as client:
            assert close_code(client) == 1011, path
    for unopened in (b"/silent", b"/split"):
        answer = exchange(gunicorn.port, OFFER % unopened + KEY)
        assert (status(answer), b"application/problem+json" in answer) == (500, True), unopened
    assert len(gunicorn.events("started")) == 1


def test_events_that_exit_end_their_stream_alone(start: Start) -> None:
    gunicorn = start(app=APP)
    (worker,) = gunicorn.worker_pids()
    assert b"data: 1\n\n" in listen(gunicorn, "/exit-events")
    assert gunicorn.serving()
    assert gunicorn.worker_pids() == {worker}


def test_message_that_is_too_large_closes_with_1009(server: Gunicorn) -> None:
    with opened(server, "/echo") as client:
        client.send("a" * 1001)
        assert close_code(client) == 1009


def test_message_of_endless_empty_frames_closes_with_1009(server: Gunicorn) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(OFFER % b"/echo" + KEY)
        assert status(client.recv(4096)) == 101
        client.sendall(b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 2000)
        assert client.recv(4)[2:] == (1009).to_bytes(2, "big")


@pytest.mark.parametrize("path", ["/deaf", "/stubborn"])
def test_handler_that_never_receives_ends_soon_after_its_client(server: Gunicorn, path: str) -> None:
    with opened(server, path):
        server.until(lambda: state_of(server)["streams"] == 1)
    server.until(lambda: state_of(server)["streams"] == 0)


def test_reader_that_takes_nothing_is_let_go(server: Gunicorn) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(OFFER % b"/flood" + KEY)
        server.until(lambda: state_of(server)["streams"] == 1)
        server.until(lambda: state_of(server)["streams"] == 0)


@pytest.mark.parametrize("asked", [OFFER % b"/flood" + KEY, b"GET /flood-events HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_client_that_resets_what_is_sent_without_a_pause_blocks_no_worker(server: Gunicorn, asked: bytes) -> None:
    workers = server.worker_pids()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(asked)
            for _ in range(20):
                client.recv(65536)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.until(lambda: state_of(server)["streams"] == 0)
    assert server.worker_pids() == workers


@pytest.mark.parametrize("path", [b"/events", b"/stubborn-events"])
def test_event_stream_is_no_request_in_flight_and_ends_with_its_client(server: Gunicorn, path: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path)
        server.until(lambda: state_of(server) == {"streams": 1, "under_way": 1, "connections": 2})
    server.until(lambda: state_of(server) == {"streams": 0, "under_way": 1, "connections": 1})


def test_event_stream_that_ends_by_itself_is_whole(server: Gunicorn) -> None:
    answer = listen(server, "/events?n=3")
    assert [f"data: {n}\n\n".encode() in answer for n in range(3)] == [True] * 3
    assert answer.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_every_stream_is_told_before_its_worker_leaves(
    how: signal.Signals, start: Start, aside: ThreadPoolExecutor, held: ExitStack
) -> None:
    gunicorn = start(app=APP)
    (old,) = gunicorn.worker_pids()
    clients = [held.enter_context(opened(gunicorn, path)) for path in ["/echo", "/deaf"] * 10]
    listeners = [aside.submit(listen, gunicorn) for _ in range(4)]
    opening = aside.submit(exchange, gunicorn.port, OFFER % b"/hesitant" + KEY)
    gunicorn.until(lambda: state_of(gunicorn)["streams"] == 25)
    gunicorn.send(how)
    codes = [aside.submit(close_code, client) for client in clients]
    assert {code.result() for code in codes} == {1012}
    for listener in listeners:
        assert b"\nretry: " in listener.result().rpartition(b"data: ")[2]
        assert listener.result().endswith(b"0\r\n\r\n")
    assert status(opening.result()) == 503
    if how is signal.SIGHUP:
        gunicorn.until(lambda: old not in gunicorn.worker_pids())
        with opened(gunicorn, "/echo") as again:
            again.send("served")
            assert again.recv() == "served"
    else:
        assert gunicorn.ended() == 0
    assert "Traceback" not in gunicorn.log()


def test_they_are_told_one_after_the_other(start: Start) -> None:
    gunicorn = start(app=APP, GRACEFUL_TIMEOUT_S="8")

    async def told() -> list[float]:
        streams = [await asyncio.open_connection("127.0.0.1", gunicorn.port) for _ in range(100)]
        for reader, writer in streams:
            writer.write(OFFER % b"/echo" + KEY)
            await reader.readuntil(b"\r\n\r\n")
        gunicorn.send(signal.SIGTERM)

        async def read_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
            assert (await reader.readexactly(4))[2:] == (1012).to_bytes(2, "big")
            at_s = time.monotonic()
            writer.close()
            return at_s

        return sorted(await asyncio.gather(*[read_end(*stream) for stream in streams]))

    at_s = asyncio.run(told())
    assert at_s[-1] - at_s[0] > 0.5  # a hundred in a second
    assert gunicorn.ended() == 0


def test_stop_in_a_hurry_tells_them_at_once(start: Start, aside: ThreadPoolExecutor, held: ExitStack) -> None:
    gunicorn = start(app=APP, GRACEFUL_TIMEOUT_S="30")
    blocked = aside.submit(ask, gunicorn.port, "/events")
    clients = [held.enter_context(opened(gunicorn, "/deaf")) for _ in range(3)]
    opening = aside.submit(exchange, gunicorn.port, OFFER % b"/undecided" + KEY)
    gunicorn.until(lambda: state_of(gunicorn)["streams"] == 5)
    gunicorn.send(signal.SIGTERM)
    gunicorn.until(lambda: not gunicorn.serving())
    gunicorn.send(signal.SIGINT)
    assert {close_code(client) for client in clients} == {1012}
    assert blocked.result().endswith(b"0\r\n\r\n")
    assert status(opening.result()) == 503
    assert gunicorn.ended(timeout_s=5) == 0


def test_stock_server_has_them_too(start: Start) -> None:
    gunicorn = start(app=APP, SERVER="stock", MAX_STREAMS="1")
    with opened(gunicorn, "/echo") as client:
        client.send("a")
        assert client.recv() == "a"
        with pytest.raises(InvalidStatus) as refused, opened(gunicorn, "/echo"):
            pass
        assert refused.value.response.status_code == 503
        gunicorn.send(signal.SIGTERM)
        assert close_code(client) == 1012
