"""Answers without a task, by the protocol: in order, with what else a connection promises, and through the drain."""

import signal
import socket
from collections.abc import Iterator

import pytest

from tests.brigade.server.clients import exchange
from tests.brigade.server.conftest import Gunicorn, Start, one_worker
from tests.brigade.server.test_protocol import LAST, NEXT, status

MOST = 2
SHORT, SHY = (NEXT.replace(b"GET / ", b"GET %s?s=0.2 " % path) for path in (b"/short", b"/shy"))


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    with one_worker(tmp_path_factory.mktemp("shortcuts"), MAX_IN_FLIGHT=str(MOST)) as gunicorn:
        yield gunicorn


def test_answers_keep_the_order_of_their_requests(gunicorn: Gunicorn) -> None:
    pid = b"%d " % next(iter(gunicorn.worker_pids()))
    answers = exchange(gunicorn.port, SHORT + NEXT + SHY + SHORT.replace(b"0.2", b"0") + LAST).split(b"HTTP/1.1 200")
    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers[1:]]
    assert [body.startswith(pid) or body for body in bodies] == [b"short", True, True, b"short", True]


def test_what_waits_behind_a_request_does_not_begin_in_its_context(gunicorn: Gunicorn) -> None:
    """Or lines of log would have the id of the request before."""
    answers = exchange(gunicorn.port, NEXT + SHORT + NEXT + LAST)
    assert answers.count(b"\r\nworked-for: \r\n") == 4


def test_head_has_no_body_and_the_last_answer_says_so(gunicorn: Gunicorn) -> None:
    answer = exchange(gunicorn.port, LAST.replace(b"GET / ", b"HEAD /short "))
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length: 5\r\n" in answer
    assert b"connection: close\r\n" in answer


def test_a_worker_that_is_full_of_tasks_answers_them(gunicorn: Gunicorn) -> None:
    busy: list[socket.socket] = []
    while status(exchange(gunicorn.port, LAST)) != 503:
        busy.append(socket.create_connection(("127.0.0.1", gunicorn.port), timeout=10))
        busy[-1].sendall(NEXT.replace(b"GET / ", b"GET /sleep?s=1.5 "))
    assert status(exchange(gunicorn.port, LAST.replace(b"GET / ", b"GET /short "))) == 200
    plain = NEXT.replace(b"GET / ", b"GET /Loud ")  # not even read, were it not for the shortcut
    assert status(exchange(gunicorn.port, plain, LAST, pause_s=0.05)) == 200
    assert status(exchange(gunicorn.port, LAST.replace(b"GET / ", b"GET /shy "))) == 503
    assert [status(client.recv(65536)) for client in busy].count(200) == MOST
    for client in busy:
        client.close()


@pytest.mark.parametrize("request_", [SHORT, SHY])
def test_who_does_not_wait_for_it_disturbs_nobody(gunicorn: Gunicorn, request_: bytes) -> None:
    with socket.create_connection(("127.0.0.1", gunicorn.port), timeout=10) as client:
        client.sendall(request_)
    assert b"short" in exchange(gunicorn.port, SHORT + LAST)


def test_a_worker_that_leaves_answers_first(start: Start) -> None:
    gunicorn = start()
    with socket.create_connection(("127.0.0.1", gunicorn.port), timeout=10) as client:
        client.sendall(SHORT.replace(b"0.2", b"1"))
        assert exchange(gunicorn.port, LAST)  # it has been read by now
        gunicorn.send(signal.SIGTERM)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.endswith(b"short")
    assert b"connection: close" in answer
    assert gunicorn.ended() == 0


def test_what_cannot_be_counted_is_answered_as_an_error(start: Start) -> None:
    answer = exchange(start().port, NEXT.replace(b"/ ", b"/uncounted ", 1))
    assert (status(answer), answer.count(b"HTTP/1.1")) == (500, 1)
