"""What clients may send, how fast, and what they are told otherwise. One worker serves them all, and outlives them."""

import itertools
import json
import re
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.brigade.server.app import LARGE_PART_BYTES, LARGE_PARTS
from tests.brigade.server.clients import exchange
from tests.brigade.server.conftest import Start, one_worker

LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
NEXT = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
SLOW = b"GET /sleep?s=0.2 HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /read HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

STREAM = CHUNKED + b"3\r\nabc\r\n0\r\nTrailer: t\r\n\r\n" + NEXT + POST + b"Content-Length: 3\r\n\r\nabc" + LAST

NOT_HTTP = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "path in host": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "user in host": (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    "host with half a bracket": (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    "host behind a bracket": (b"GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n", 400),
    "IPv6 host without brackets": (b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", 400),
    "port of letters": (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
    "port that there is not": (b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400),
    "two ports": (b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400),
    "host longer than a name": (b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % (b"a" * 261), 400),
    "length and coding": (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    "negative length": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "length beyond 64 bits": (POST + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
    "unknown coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n", 501),
    "two codings": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "coding in 1.0": (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    "bad chunk": (CHUNKED + b"zz\r\n", 400),
    "space before colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    "folded header": (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", 400),
    "bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "bare CR": (b"GET / HTTP/1.1\r\nHost: a\rB: c\r\n\r\n", 400),
    "null in path": (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "null in header": (b"GET / HTTP/1.1\r\nHost: a\r\nB: \0\r\n\r\n", 400),
    "bytes beyond ASCII in path": (b"GET /\xc3\x28 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "version 2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "tunnel": (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "unknown method": (b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "method of small letters": (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "method that goes on": (b"\r\nGET_ALL / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "part of an unknown method": (b"X-", 501),
    "bytes that are no method": (b"FO(O) / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
}

TOO_LARGE = {
    "url": (b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 1_000_000), 414),
    "url in one read": (b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 40_000), 414),
    "header": (b"GET / HTTP/1.1\r\nHost: a\r\nA: %s\r\n\r\n" % (b"a" * 20_000_000), 431),
    "header in one read": (b"GET / HTTP/1.1\r\nHost: a\r\nA: %s\r\n\r\n" % (b"a" * 40_000), 431),
    "headers": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 200_000 + b"\r\n", 431),
    "many headers": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 100 + b"\r\n", 431),
    "many headers, and no end": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 101, 431),
    "small chunks": (CHUNKED + b"1\r\na\r\n" * 2_000_000, 400),
    "chunk extensions": (CHUNKED + (b"40;" + b"a" * 2000 + b"\r\n" + b"a" * 64 + b"\r\n") * 5000, 413),
    "trailers": (CHUNKED + b"0\r\n" + b"A: b\r\n" * 2_000_000, 431),
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with one_worker(tmp_path_factory.mktemp("protocol")) as gunicorn:
        worker = psutil.Process(*gunicorn.worker_pids())
        resident = worker.memory_info().rss
        yield gunicorn.port
        assert gunicorn.serving()
        assert worker.is_running(), gunicorn.log()
        assert worker.memory_info().rss < 2 * resident
        assert "Invalid HTTP" not in gunicorn.log(), "a line for each bad request is a way to fill a disk"


def status(answer: bytes) -> int:
    return int(answer.split(maxsplit=2)[1])


def assert_problem(answer: bytes, expected: int) -> None:
    """One problem document and nothing else, after which the server has closed."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    assert b"date: " in head
    assert b"server:" not in head
    document = json.loads(body)
    assert document["status"] == status(answer) == expected
    assert document["detail"]


@pytest.mark.parametrize(("sent", "expected"), NOT_HTTP.values(), ids=NOT_HTTP)
def test_what_is_not_http_is_refused_in_so_many_words(port: int, sent: bytes, expected: int) -> None:
    assert_problem(exchange(port, sent), expected)


@pytest.mark.parametrize(("sent", "expected"), TOO_LARGE.values(), ids=TOO_LARGE)
def test_what_is_too_large_is_refused_while_it_is_still_being_sent(port: int, sent: bytes, expected: int) -> None:
    assert_problem(exchange(port, sent), expected)


@pytest.mark.parametrize(
    "parts",
    [
        [b"GET / HT"],
        [b"GET / HTTP/1.1\r\n", *[b"A: b\r\n"] * 8],
        [POST + b"Content-Length: 10\r\n\r\nabc"],
        [CHUNKED + b"3\r\nabc\r\n"],
        [POST + b"Content-Length: 100\r\n\r\n", *[b"a"] * 8],
    ],
    ids=["stalled head", "dripped head", "stalled body", "stalled chunks", "dripped body"],
)
def test_slow_client_is_told_408(port: int, parts: list[bytes]) -> None:
    assert_problem(exchange(port, *parts, pause_s=0.15), 408)


@pytest.mark.parametrize("parts", [[], [b"\r\n"] * 8], ids=["silent", "line ends"])
def test_client_that_never_begins_a_request_is_let_go(port: int, parts: list[bytes]) -> None:
    assert exchange(port, *parts, pause_s=0.15) == b""


def test_kept_connection_cannot_be_held_with_line_ends(port: int) -> None:
    assert exchange(port, NEXT, *[b"\r\n"] * 8, pause_s=0.15).count(b"HTTP/1.1 200") == 1


def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    answer = exchange(port, SLOW + b"GET /read HTTP/1.1\r\nHost: a\r\nSecond: 2\r\n\r\n" + LAST)
    assert answer.count(b"HTTP/1.1 200") == 3
    assert answer.index(b"host,second") < answer.index(b"host,connection")


def test_answers_in_one_message_take_their_turn_among_the_others(port: int) -> None:
    whole = NEXT.replace(b" / ", b" /whole ")
    head, last = whole.replace(b"GET", b"HEAD"), LAST.replace(b" / ", b" /whole ")
    answer = exchange(port, SLOW + whole + head + NEXT + last)
    assert [answer.count(each) for each in (b"HTTP/1.1 200", b"whole", b"connection: close")] == [5, 2, 1]
    assert answer.endswith(b"connection: close\r\n\r\nwhole")


def test_header_of_two_lines_is_not_sent(start: Start) -> None:
    answer = exchange(start(1).port, LAST.replace(b" / ", b" /whole?s=1 "))
    assert status(answer) == 500
    assert b"b: c" not in answer


def test_pipelining_is_bounded_and_says_where_it_stopped(port: int) -> None:
    answer = exchange(port, NEXT * 10_000)
    assert answer.count(b"HTTP/1.1 200") == 17
    assert answer.count(b"connection: close") == 1
    assert b"connection: close" in answer.rpartition(b"HTTP/1.1")[2]


def test_answer_on_its_way_is_not_mixed_with_the_refusal_of_what_follows(port: int) -> None:
    answer = exchange(port, SLOW + b"garbage\r\n\r\n")
    assert status(answer) == 200
    assert answer.count(b"HTTP/1.1") == 1
    assert b"connection: close" in answer


def test_stalled_body_behind_another_request_is_refused_in_its_turn(port: int) -> None:
    """Nor does the time count that it waited because we were slow."""
    slower = SLOW.replace(b"0.2", b"1")
    first, _, second = exchange(port, slower + POST + b"Content-Length: 9\r\n\r\n").partition(b" host")
    assert status(first) == 200
    assert_problem(second, 408)


def test_large_heads_in_a_row_are_not_added_up(port: int) -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\nA: %s\r\n\r\n" % (b"a" * 20_000)
    assert exchange(port, request * 5 + LAST).count(b"HTTP/1.1 200") == 6


@pytest.mark.parametrize("close", [b"Connection: close\r\n", b""], ids=["closing", "kept"])
def test_answer_before_the_body_is_heard(port: int, close: bytes) -> None:
    """The application answers at once; the client sends on. A reset would destroy the answer."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\n%sContent-Length: 30000000\r\n\r\n" % close
    answer = exchange(port, head + b"a" * 30_000_000)
    assert status(answer) == 200
    assert answer.count(b"HTTP/1.1") == 1


def test_chunks_may_be_small_but_not_for_ever(port: int) -> None:
    body = b"1\r\na\r\n" * 1000 + (b"20\r\n" + b"a" * 32 + b"\r\n") * 3000 + b"0\r\n\r\n"
    assert exchange(port, CHUNKED + body, CHUNKED + body, LAST, pause_s=0.1).count(b"HTTP/1.1 200") == 3


def test_half_closed_client_gets_its_answer(port: int) -> None:
    assert status(exchange(port, SLOW, end=True)) == 200


@pytest.mark.parametrize("tail", [b"garbage\r\n\r\n", b"GET / HT", POST + b"Content-Length: 9\r\n\r\nabc"])
def test_half_closed_client_gets_its_answer_whatever_it_sent_behind(port: int, tail: bytes) -> None:
    answer = exchange(port, SLOW + tail, end=True)
    assert (status(answer), answer.count(b"HTTP/1.1")) == (200, 1)


def test_client_that_is_let_go_in_its_body_is_refused_no_more(port: int) -> None:
    """The answer has gone out and nothing more is said, though the body has a deadline: the log would have a traceback."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 9\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(head)
        with client.makefile("rb") as answers:
            assert answers.read().count(b"HTTP/1.1") == 1
        time.sleep(0.8)


def test_client_that_ends_inside_a_request_is_let_go(port: int) -> None:
    assert exchange(port, SLOW[:-2], end=True) == b""
    assert exchange(port, POST + b"Content-Length: 9\r\n\r\nabc", end=True) == b""


SMUGGLED = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
FRAMED = {
    "no body": b"\r\n",
    "length": b"Content-Length: %d\r\n\r\n%s" % (len(SMUGGLED), SMUGGLED),
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
}


@pytest.mark.parametrize("method", [b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"QUERY"])
@pytest.mark.parametrize("framed", FRAMED.values(), ids=FRAMED)
@pytest.mark.parametrize("wish", [b"h2c", b"websocket", b"TLS/1.0"])
def test_upgrade_is_declined_by_going_on_after_the_body(port: int, method: bytes, framed: bytes, wish: bytes) -> None:
    head = b"%s /read HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\n" % (method, wish)
    for parts in ([(head + framed) * 2 + LAST], [head + framed[:-20], framed[-20:] + NEXT, LAST]):
        assert re.findall(rb"HTTP/1.1 (\d+)", exchange(port, *parts, pause_s=0.02)) == [b"200"] * 3


def test_upgrade_in_http_1_0_is_ignored(port: int) -> None:
    head = POST.replace(b"1.1", b"1.0") + b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    answer = exchange(port, head + FRAMED["length"])
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200"]
    assert b"connection: close" in answer


@pytest.mark.parametrize("target", [b"a:443", b"/", b"http://a/"])
def test_no_tunnel_is_made(port: int, target: bytes) -> None:
    assert_problem(exchange(port, b"CONNECT %s HTTP/1.1\r\nHost: a\r\n\r\n" % target + LAST), 501)


def test_trailers_do_not_become_headers(port: int) -> None:
    answer = exchange(port, CHUNKED + b"3\r\nabc\r\n0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n" + LAST)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert b"x-forwarded-for" not in answer


def test_expectation_is_met(port: int) -> None:
    head = POST + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    assert exchange(port, head, b"abc", pause_s=0.1).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


@pytest.mark.parametrize("length", [b"Content-Length: 3 ", b"Transfer-Encoding: chunked  "])
def test_whitespace_behind_a_value_is_no_part_of_it(port: int, length: bytes) -> None:
    fields = [b"Host: a \t", b"Connection: close ", b"Expect: 100-continue\t ", length]
    body = b"abc" if length.startswith(b"C") else b"3\r\nabc\r\n0\r\n\r\n"
    answers = exchange(port, b"\r\n".join([b"POST /read HTTP/1.1", *fields, b"\r\n"]), body, pause_s=0.1)
    assert answers.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    assert answers.count(b"HTTP/1.1") == 2


def test_old_client_needs_no_host(port: int) -> None:
    assert status(exchange(port, b"GET / HTTP/1.0\r\n\r\n")) == 200


def test_proxy_is_believed_about_the_last_hop_alone(port: int) -> None:
    """The worker trusts 127.0.0.1 by default; what the client itself wrote stands further left."""
    request = LAST.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 6.6.6.6, 9.9.9.9\r\n\r\n")
    assert b" 9.9.9.9 " in exchange(port, request)


@pytest.mark.parametrize(
    "asked", [b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n", NEXT * 200_000], ids=["long answer", "many"]
)
def test_client_that_does_not_read_is_let_go(port: int, asked: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(0.1)
        with suppress(TimeoutError, ConnectionResetError):
            client.sendall(asked)
        time.sleep(1.5)
        client.settimeout(5)
        with suppress(ConnectionResetError):
            received = 0
            while piece := client.recv(1_000_000):
                received += len(piece)
            assert received < LARGE_PARTS * LARGE_PART_BYTES


@pytest.mark.parametrize(
    ("large", "count"),
    [
        (POST + b"Content-Length: 1000000\r\n\r\n" + b"a" * 999_999, 30),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 30_000, 400),
    ],
    ids=["bodies", "heads"],
)
def test_what_never_ends_takes_no_more_than_its_share_of_memory(start: Start, large: bytes, count: int) -> None:
    """Each is allowed, and would be kept until its time is over."""
    gunicorn = start(WORKER_MEMORY_MB="32", BODY_TIMEOUT_S="5", HEADER_TIMEOUT_S="5")
    share = 8 * 2**20 // len(large)
    small = POST + b"Connection: close\r\nContent-Length: 3000\r\n\r\n" + b"a" * 3000
    with ExitStack() as stack:
        stalled = []
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", gunicorn.port), timeout=2))
            client.sendall(large)
            stalled.append(client)
        assert status(exchange(gunicorn.port, small)) == 200
        gunicorn.until(lambda: len(_answered(stalled)) >= count - share)
        answers = [client.recv(65536) for client in _answered(stalled)]
        assert len(answers) < count - share / 2
        for answer in answers:
            assert_problem(answer, 503)
            assert b"\r\nretry-after: 1\r\n" in answer
    whole = POST + b"Connection: close\r\nContent-Length: 1000000\r\n\r\n" + b"a" * 1_000_000
    gunicorn.until(lambda: status(exchange(gunicorn.port, whole)) == 200)
    for _ in range(20):  # what has been answered is not counted
        assert status(exchange(gunicorn.port, whole)) == 200


def _answered(clients: list[socket.socket]) -> list[socket.socket]:
    return select.select(clients, [], [], 0)[0]


def test_thousand_idle_connections_do_not_disturb(port: int) -> None:
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(1000)]
    assert status(exchange(port, LAST)) == 200
    for connection in idle:
        assert connection.recv(1) == b""
        connection.close()


@given(cuts=st.lists(st.integers(min_value=1, max_value=len(STREAM) - 1), max_size=12, unique=True))
@settings(max_examples=40, deadline=None)
def test_what_arrives_in_pieces_is_answered_as_if_in_one(port: int, cuts: list[int]) -> None:
    pieces = [STREAM[start:end] for start, end in itertools.pairwise([0, *sorted(cuts), len(STREAM)])]
    answer = exchange(port, *pieces, pause_s=0.001)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200"] * 4


def test_a_connection_that_ended_is_forgotten_before_garbage_is_collected(port: int) -> None:
    """What a hostile head left was kept for a quarter of an hour, as the collector comes late."""
    heads = [
        LAST,
        NEXT,
        SLOW,
        NEXT * 3,
        TOO_LARGE["headers"][0],
        TOO_LARGE["header in one read"][0],
        TOO_LARGE["trailers"][0],
        NOT_HTTP["no host"][0],
        NOT_HTTP["bad chunk"][0],
        CHUNKED + b"1\r\na",
        *(NEXT.replace(b"/", path, 1) for path in (b"/whole", b"/short", b"/short?s=0.2", b"/shy?s=0.2")),
    ]
    for head in heads * 5:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client, suppress(OSError):
            client.sendall(head)
            if head is LAST or head is SLOW:
                client.recv(65536)
    deadline = time.monotonic() + 20
    while (remembered := _remembered(port)) > 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert remembered <= 2


def _remembered(port: int) -> int:
    found = re.search(rb"\r\na: (\d+)", exchange(port, LAST.replace(b"/ ", b"/remembered ", 1)))
    assert found
    return int(found[1])
