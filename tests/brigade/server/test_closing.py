"""How connections end: whole answers to slow readers, answers to clients that have sent all they will, `Connection: close`."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from brigade.server.output import LINGER_S
from tests.brigade.server.app import BLOCK_BYTES
from tests.brigade.server.clients import exchange
from tests.brigade.server.conftest import Start, one_worker
from tests.brigade.server.test_protocol import LAST, NEXT, status

ENDING = {
    "close": b"GET /block-of-bytes HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "HTTP/1.0": b"GET /block-of-bytes HTTP/1.0\r\n\r\n",
    "garbage behind": b"GET /block-of-bytes HTTP/1.1\r\nHost: a\r\n\r\ngarbage\r\n\r\n",
    "half-closed": b"GET /block-of-bytes HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with one_worker(tmp_path_factory.mktemp("closing"), BODY_TIMEOUT_S="4") as gunicorn:
        yield gunicorn.port


def ask_slowly(port: int, request: bytes, *, end: bool) -> socket.socket:
    """A client that has room for few bytes in its own buffer."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(10)
    client.connect(("127.0.0.1", port))
    client.sendall(request)
    if end:
        client.shutdown(socket.SHUT_WR)
    return client


@pytest.mark.parametrize("kind", ENDING)
def test_a_reader_that_pauses_gets_the_whole_of_the_last_answer(port: int, kind: str) -> None:
    with ask_slowly(port, ENDING[kind], end=kind == "half-closed") as client:
        client.recv(1)
        time.sleep(LINGER_S + 0.5)
        received = 1 + sum(len(piece) for piece in iter(lambda: client.recv(1_000_000), b""))
    assert received > BLOCK_BYTES


@pytest.mark.parametrize("how", [b"error", b"exit"])
def test_a_request_that_fails_after_its_answer_does_not_end_the_next_one(start: Start, how: bytes) -> None:
    """A background task may fail so, or a dependency behind its `yield`."""
    gunicorn = start()
    answers = exchange(
        gunicorn.port,
        b"GET /failing-after?%s HTTP/1.1\r\nHost: a\r\n\r\n" % how,
        b"GET /sleep?s=0.5 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert gunicorn.log().count("The application failed after its answer.") == 1


@pytest.mark.parametrize(
    "request_", [NEXT.replace(b"/", b"/block-of-bytes", 1), ENDING["close"]], ids=["kept", "closing"]
)
def test_a_reader_that_is_slow_but_reads_on_gets_all_of_an_answer(start: Start, request_: bytes) -> None:
    """Though it takes longer than a reader may do nothing."""
    with ask_slowly(start(BODY_TIMEOUT_S="1").port, request_, end=False) as client:
        received, began = 0, time.monotonic()
        while received < BLOCK_BYTES:
            piece = client.recv(100_000)
            assert piece, f"cut after {received} bytes"
            received += len(piece)
            if time.monotonic() < began + 2.5:
                time.sleep(0.05)


def test_half_closed_client_gets_the_rest_of_a_stream(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(NEXT.replace(b"/", b"/stream?s=0.5", 1))
        answer = client.recv(65536)
        while b"first" not in answer:
            answer += client.recv(65536)
        client.shutdown(socket.SHUT_WR)
        answer += b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.endswith(b"4\r\nlast\r\n0\r\n\r\n")


def test_half_closed_client_gets_all_pipelined_answers_and_no_half_of_a_request_is_begun(
    port: int, aside: ThreadPoolExecutor
) -> None:
    stream = NEXT.replace(b"/", b"/stream?s=0.2", 1)
    answer = exchange(port, stream + NEXT + b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", end=True)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.count(b"connection: close") == 1


def test_an_answer_that_could_not_be_sent_is_not_counted_as_sent(start: Start) -> None:
    gunicorn = start()
    answer = exchange(gunicorn.port, NEXT.replace(b"/", b"/bad-header", 1))
    assert status(answer) == 500
    assert b"connection: close" in answer
    assert gunicorn.events("counted") == []


def test_many_that_end_leave_nothing(port: int) -> None:
    for _ in range(20):
        assert exchange(port, LAST, end=True)
