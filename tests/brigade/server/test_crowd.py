"""More requests than a worker takes: told so at once, on a connection that is kept, while what was taken is finished."""

import asyncio
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from brigade.server.admission import MAX_PROBES, PAUSE_S
from tests.brigade.server.clients import Load, Tally, exchange
from tests.brigade.server.conftest import Gunicorn, Start, one_worker
from tests.brigade.server.test_protocol import CHUNKED, LAST, NEXT, POST, assert_problem, status

MOST, MANY = 3, 60
SLEEP = b"GET /sleep?s=2.5 HTTP/1.1\r\nHost: a\r\n\r\n"
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    with one_worker(tmp_path_factory.mktemp("crowd"), MAX_IN_FLIGHT=str(MOST)) as gunicorn:
        yield gunicorn


@pytest.fixture
def crowd(gunicorn: Gunicorn) -> Iterator[list[socket.socket]]:
    """As many requests as the worker takes are in flight."""
    clients = [socket.create_connection(("127.0.0.1", gunicorn.port), timeout=10) for _ in range(MOST)]
    for client in clients:
        client.sendall(SLEEP)
    gunicorn.until(lambda: status(exchange(gunicorn.port, LAST)) == 503)
    yield clients
    for client in clients:
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.close()
    gunicorn.until(lambda: status(exchange(gunicorn.port, LAST)) == 200)


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1.1 (\d+)", answer)]


def test_who_finds_no_room_is_told_so_in_so_many_words(gunicorn: Gunicorn, crowd: list[socket.socket]) -> None:
    answer = exchange(gunicorn.port, LAST)
    assert_problem(answer, 503)
    assert b"retry-after: 1" in answer
    assert "no room" in gunicorn.log()


def test_health_is_answered_however_full_it_is(gunicorn: Gunicorn, crowd: list[socket.socket]) -> None:
    assert statuses(exchange(gunicorn.port, NEXT + LIVEZ + LAST)) == [503, 200, 503]


def test_http_1_0_is_answered_as_1_1_is_and_let_go(gunicorn: Gunicorn, crowd: list[socket.socket]) -> None:
    """HAProxy's `httpchk` asks like this, and reads until the end."""
    old = LIVEZ.replace(b"1.1", b"1.0")
    for request, expected in ((old, 200), (old.replace(b"Host: a\r\n", b""), 200), (NEXT.replace(b"1.1", b"1.0"), 503)):
        answer = exchange(gunicorn.port, request, timeout_s=2)
        assert statuses(answer) == [expected]
        assert b"\r\nconnection: close\r\n" in answer


@pytest.mark.parametrize("head", [b"Content-Length : 44\r\n", b"Host: b\r\n", b"A: \x00\r\n"])
def test_a_full_worker_refuses_the_heads_that_an_idle_one_refuses(
    gunicorn: Gunicorn, crowd: list[socket.socket], head: bytes
) -> None:
    for before in ([], [NEXT]):
        answer = exchange(gunicorn.port, *before, NEXT[:-2] + head + b"\r\n" + LIVEZ, pause_s=0.05)
        assert statuses(answer) == [503] * len(before) + [400]


def test_a_refused_request_with_garbage_behind_it_is_answered_and_its_connection_ends(
    gunicorn: Gunicorn, crowd: list[socket.socket]
) -> None:
    for end in (False, True):
        answer = exchange(gunicorn.port, NEXT + b"GARBAGE\r\n\r\n", end=end)
        assert statuses(answer) == [503]
        assert b"\r\nconnection: close\r\n" in answer


def test_health_checks_of_one_path_are_bounded_and_leave_room_for_those_of_another(gunicorn: Gunicorn) -> None:
    probe = LAST.replace(b"/ ", b"/probe?s=1.5 ")
    clients = [socket.create_connection(("127.0.0.1", gunicorn.port), timeout=10) for _ in range(MAX_PROBES + 20)]
    for client in clients:
        client.sendall(probe)
    assert statuses(exchange(gunicorn.port, LIVEZ + LAST)) == [200, 200]
    answers = []
    for client in clients:
        with client, client.makefile("rb") as answer:
            answers.append(answer.read())
    assert [status(answer) for answer in answers].count(200) == MAX_PROBES
    assert status(exchange(gunicorn.port, LAST.replace(b"/ ", b"/probe "))) == 200


def test_what_is_more_than_a_plain_get_is_read_before_it_is_turned_away(
    gunicorn: Gunicorn, crowd: list[socket.socket], aside: ThreadPoolExecutor
) -> None:
    """Or the body of one would be taken for the next request."""
    hidden = NEXT.replace(b"GET / ", b"GET /livez ")
    with_body = NEXT[:-2] + b"content-Length: %d\r\n\r\n" % len(hidden)
    bodies = aside.submit(exchange, gunicorn.port, NEXT, with_body, hidden, LIVEZ, LAST, pause_s=0.05)
    pieces = aside.submit(exchange, gunicorn.port, NEXT[:20], NEXT[20:], NEXT, LAST, pause_s=0.05)
    no_path = aside.submit(exchange, gunicorn.port, NEXT, b"GET /\x00 HTTP/1.1\r\n\r\n" + LAST, pause_s=0.05)
    assert statuses(bodies.result()) == [503, 503, 200, 503]
    assert statuses(pieces.result()) == [503] * 3
    assert statuses(no_path.result())[0] == 503


def test_the_connection_is_kept_and_what_comes_with_a_body_is_read_past(
    gunicorn: Gunicorn, crowd: list[socket.socket]
) -> None:
    fixed, chunks = POST + b"Content-Length: 3\r\n\r\nabc", CHUNKED + b"3\r\nabc\r\n0\r\n\r\n"
    assert statuses(exchange(gunicorn.port, fixed + chunks + NEXT, fixed[:-2], b"bc", LAST, pause_s=0.05)) == [503] * 5
    head = exchange(gunicorn.port, LAST.replace(b"GET", b"HEAD"))
    assert head.endswith(b"\r\n\r\n")
    assert b"content-length: " in head


def test_who_asks_again_at_once_is_not_read_for_a_while(gunicorn: Gunicorn, crowd: list[socket.socket]) -> None:
    """Thousands of refusals a second would take the time of what can be answered."""
    began, refusals = time.monotonic(), 0
    with socket.create_connection(("127.0.0.1", gunicorn.port), timeout=10) as client:
        while status(ask(client, NEXT[:-2] + b"Connection: keep-alive\r\n\r\n")) == 503:
            refusals += 1
        elapsed_s = time.monotonic() - began
    assert 1 <= refusals <= 1 + elapsed_s / PAUSE_S


def test_nobody_who_was_refused_is_read_because_another_was_or_because_one_was_answered_who_takes_no_place(
    gunicorn: Gunicorn, crowd: list[socket.socket]
) -> None:
    async def insist() -> tuple[Tally, Tally]:
        shy, short = (Load(gunicorn.port, path, clients=8, keep=True) for path in ("/shy", "/short"))
        async with shy as refused, short as answered:
            await asyncio.sleep(0.6)
        return refused, answered

    began = time.monotonic()
    refused, answered = asyncio.run(insist())
    assert answered.statuses[200] > refused.statuses[503] > 0
    assert refused.statuses[503] <= 8 * (1 + (time.monotonic() - began) / PAUSE_S)


def ask(client: socket.socket, request: bytes) -> bytes:
    client.sendall(request)
    return client.recv(65536)


def test_there_is_room_again_when_others_have_been_answered(gunicorn: Gunicorn) -> None:
    """Far more clients than room, each of whom comes again at once: all get through, nobody's place is lost on the way,
    and whoever is not read for a while is as soon as there is room.
    """

    async def insist() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", gunicorn.port)
        refusals = 0
        while True:
            writer.write(SLEEP.replace(b"2.5", b"0.02"))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
            if status(head) == 200:
                writer.close()
                return refusals
            refusals += 1

    async def everybody() -> list[int]:
        return await asyncio.wait_for(asyncio.gather(*[insist() for _ in range(MANY)]), 60)

    assert 0 < sum(asyncio.run(everybody())) < MANY * MANY / MOST / 4


@pytest.mark.parametrize("words", [b"", b"Expect: 100-continue\r\n"], ids=["stalled", "asked for the rest"])
def test_who_never_sends_the_rest_takes_no_place(start: Start, words: bytes) -> None:
    gunicorn = start(MAX_IN_FLIGHT=str(MOST), BODY_TIMEOUT_S="10")
    clients = [socket.create_connection(("127.0.0.1", gunicorn.port), timeout=5) for _ in range(2 * MOST)]
    for client in clients:
        client.sendall(POST + words + b"Connection: close\r\nContent-Length: 9\r\n\r\nabc")
    assert status(exchange(gunicorn.port, LAST)) == 200
    for client in clients:
        client.sendall(b"defghi")
        with client, client.makefile("rb") as answers:
            assert b"HTTP/1.1 200" in answers.read()


def test_a_request_that_is_half_sent_when_the_service_is_told_to_stop_is_answered(start: Start) -> None:
    gunicorn = start(BODY_TIMEOUT_S="10")
    with socket.create_connection(("127.0.0.1", gunicorn.port), timeout=5) as client:
        client.sendall(POST + b"Content-Length: 9\r\n\r\nabc")
        gunicorn.send(signal.SIGTERM)
        gunicorn.until(lambda: "Draining: 1 connections" in gunicorn.log())
        client.sendall(b"defghi")
        with client.makefile("rb") as answers:
            answer = answers.read()
    assert status(answer) == 200
    assert b"connection: close" in answer
    assert gunicorn.ended() == 0


def test_as_many_clients_as_there_is_room_for_are_never_refused(start: Start) -> None:
    """Each comes again at once, while the loop still ends the tasks of the others."""
    clients = 200
    gunicorn = start(MAX_IN_FLIGHT=str(clients))

    async def sleep_again_and_again() -> Tally:
        async with Load(gunicorn.port, "/sleep?s=0.05", clients=clients, keep=True) as tally:
            while tally.statuses.total() <= 2 * clients:  # noqa: ASYNC110 - answers of another process
                await asyncio.sleep(0.1)
        return tally

    assert set(asyncio.run(sleep_again_and_again()).statuses) == {200}
