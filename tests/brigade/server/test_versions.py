"""What the version of a client decides, and the forms in which it may name its target."""

import re
from collections.abc import Iterator

import pytest

from tests.brigade.server.clients import exchange
from tests.brigade.server.conftest import one_worker
from tests.brigade.server.test_protocol import NEXT, assert_problem, status

OLD_POST = b"POST /read HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with one_worker(tmp_path_factory.mktemp("versions")) as gunicorn:
        yield gunicorn.port


def test_http_1_0_is_told_nothing_before_its_answer(port: int) -> None:
    """RFC 9110, 10.1.1 and 15.2."""
    assert status(exchange(port, OLD_POST, b"abc", pause_s=0.2)) == 200
    assert status(exchange(port, OLD_POST + b"abc")) == 200


def test_a_body_that_came_with_its_head_is_not_asked_for(port: int) -> None:
    request = (
        b"POST /read HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
    )
    assert status(exchange(port, request)) == 200


def test_a_client_that_was_not_asked_for_its_body_is_let_go(port: int) -> None:
    """RFC 9110, 10.1.1: it may send the body after another answer, or not."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 30000000\r\n\r\n"
    answer = exchange(port, head)
    assert status(answer) == 200
    assert b"\r\nconnection: close\r\n" in answer


@pytest.mark.parametrize("keep", [b"", b"Connection: keep-alive\r\n"], ids=["plain", "keep-alive"])
def test_http_1_0_gets_streams_without_chunks(port: int, keep: bytes) -> None:
    """RFC 9112, 6.1: the client has no chunks. The end of the connection is the end of the body."""
    head, _, body = exchange(port, b"GET /stream HTTP/1.0\r\n%s\r\n" % keep).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"\r\nconnection: close" in head
    assert body == b"firstlast"


def test_http_1_1_gets_streams_in_chunks(port: int) -> None:
    answer = exchange(port, NEXT.replace(b"/", b"/stream", 1), end=True)
    assert answer.endswith(b"5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n")


def test_one_coding_twice_is_refused(port: int) -> None:
    coded = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert_problem(exchange(port, coded), 400)


def ask_for_target(port: int, line: bytes, host: bytes = b"Host: other\r\n") -> tuple[int, bytes]:
    answer = exchange(port, b"%s\r\n%sConnection: close\r\n\r\n" % (line, host))
    found = re.search(rb"\r\nasked-for: ([^\r]*)", answer)
    return status(answer), found[1] if found else b""


TARGETS = {
    b"GET http://a.example/x?y HTTP/1.1": b"a.example /x y",
    b"GET HTTP://a.example:8080/x HTTP/1.1": b"a.example:8080 /x ",
    b"GET https://[::1]:8/ HTTP/1.1": b"[::1]:8 / ",
    b"GET http://a.example HTTP/1.1": b"a.example / ",
    b"GET http://a.example?y HTTP/1.1": b"a.example / y",
    b"GET http://a.example/x?http://b/ HTTP/1.1": b"a.example /x http://b/",
    b"GET //a.example/x HTTP/1.1": b"other //a.example/x ",
    b"GET /http://a.example/x HTTP/1.1": b"other /http://a.example/x ",
    b"GET /x%20y HTTP/1.1": b"other /x y ",
    b"OPTIONS * HTTP/1.1": b"other * ",
}


@pytest.mark.parametrize("line", TARGETS, ids=bytes.decode)
def test_the_authority_of_an_absolute_target_wins_over_host(port: int, line: bytes) -> None:
    """RFC 9112, 3.2.2."""
    assert ask_for_target(port, line) == (200, TARGETS[line])


def test_an_old_client_may_name_its_host_in_the_target_alone(port: int) -> None:
    assert ask_for_target(port, b"GET http://a.example/x HTTP/1.0", host=b"") == (200, b"a.example /x ")


@pytest.mark.parametrize(
    "line",
    [
        b"GET * HTTP/1.1",
        b"GET ftp://a/ HTTP/1.1",
        b"GET http:/// HTTP/1.1",
        b"GET http://:80/ HTTP/1.1",
        b"GET http://user@a/ HTTP/1.1",
        b"GET http://a:b/ HTTP/1.1",
        b"GET http://a]b/ HTTP/1.1",
        b"GET /x#y HTTP/1.1",
        b"GET http://a/x#y HTTP/1.1",
        b"GET a.example:80 HTTP/1.1",
        b"GET x HTTP/1.1",
    ],
    ids=bytes.decode,
)
def test_what_is_no_target_is_refused(port: int, line: bytes) -> None:
    assert_problem(exchange(port, line + b"\r\nHost: other\r\n\r\n"), 400)


def test_an_absolute_target_does_not_stand_for_a_host(port: int) -> None:
    for hosts in (b"", b"Host: a\r\nHost: a\r\n"):
        assert_problem(exchange(port, b"GET http://a/ HTTP/1.1\r\n%s\r\n" % hosts), 400)
