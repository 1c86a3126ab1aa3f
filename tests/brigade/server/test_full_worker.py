"""The protocol class while `MAX_IN_FLIGHT` is reached: every request is answered or its connection closed, nothing is left."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import example, given, note
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from brigade.server import admission as admission_module
from brigade.server import output as output_module
from tests.brigade.server.test_spoilt_bytes import LOOK, REFUSALS, Answer, Sent, Server, cut, parse, requests, tails
from tests.length import TIMES

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(120 * TIMES)]

without_head = requests.filter(lambda sent: sent.method != "HEAD")
"""The refusal of a HEAD does not say that it has no body."""

GET = Sent("GET", "/", b"", None, ())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server(full=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output_module, "LINGER_S", 0.02)
        patch.setattr(admission_module, "PAUSE_S", 0.01)
        yield server
        server.end()


def exchange(server: Server, wire: bytes, cuts: list[int], *, ends: bool) -> list[Answer]:
    pieces = cut(wire, cuts)
    note(f"{pieces!r}, ends: {ends}")
    received = server.exchange(pieces, ends=ends)  # until the server has closed, and has forgotten the connection
    note(f"received: {received!r}")
    assert not server.errors, server.errors.pop()
    return parse(received)


def check(answer: Answer, sent: Sent) -> None:
    if sent.path not in {"/livez", "/short"}:
        assert answer.status == 503
        return
    assert answer.status == 200
    assert json.loads(answer.body) == replace(sent, body=sent.body if sent.path == "/livez" else b"").echo()


@given(sent=st.lists(without_head, min_size=1, max_size=6), cuts=st.lists(st.integers(0, 5000), max_size=8))
@hypothesis_settings(LOOK, max_examples=100 * TIMES)
def test_well_formed_requests_are_answered_in_their_order(server: Server, sent: list[Sent], cuts: list[int]) -> None:
    answers = exchange(server, b"".join(each.wire() for each in sent), cuts, ends=True)
    assert len(answers) == len(sent)
    for each, answer in zip(sent, answers, strict=True):
        check(answer, each)


@given(
    sent=st.lists(without_head, max_size=3),
    tail=tails.filter(lambda tail: b"HEAD" not in tail),
    cuts=st.lists(st.integers(0, 5000), max_size=6),
)
@example(sent=[GET], tail=b"GARBAGE\r\n\r\n", cuts=[])
@example(sent=[GET], tail=b"GET / HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc", cuts=[])
@hypothesis_settings(LOOK, max_examples=200 * TIMES)
def test_requests_are_answered_or_their_connection_closed_whatever_comes_after_them(
    server: Server, sent: list[Sent], tail: bytes, cuts: list[int]
) -> None:
    answers = exchange(server, b"".join(each.wire() for each in sent) + tail, cuts, ends=True)
    for each, answer in zip(sent, answers, strict=False):
        check(answer, each)
    assert len(answers) >= len(sent)
    assert {answer.status for answer in answers} <= REFUSALS | {200}
    refusals = [answer.status not in {200, 503} for answer in answers]
    assert True not in refusals[:-1]


@given(tail=st.sampled_from([b"GARBAGE\r\n\r\n", b"GET / HT", b"GET / HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc"]))
@hypothesis_settings(LOOK, max_examples=3)
def test_a_client_that_says_no_end_is_let_go(server: Server, tail: bytes) -> None:
    assert exchange(server, GET.wire() * 2 + tail, [], ends=False)[0].status == 503
