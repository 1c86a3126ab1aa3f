"""Calls to other services, against servers that answer, hang and break off."""

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import httpx
import pytest
from fastapi import APIRouter, WebSocket
from pydantic import SecretStr
from starlette.types import Message

from brigade import Http, Settings, UpstreamFailure, UpstreamTimeout, UpstreamUnavailable
from brigade.outgoing.answer import Answer
from brigade.outgoing.client import HttpClient
from brigade.outgoing.hosts import FAILURES_IN_A_ROW, MOST_HOSTS, OTHERS, RETRIES_KEPT, Host, Hosts, HostStats
from tests.bare import Bare
from tests.brigade.outgoing.hosts import HEAD, FakeHost, answers, break_off, hang, host, says

pytestmark = pytest.mark.anyio

router = APIRouter()


@router.get("/ask")
async def ask(url: str, http: Http) -> int:
    return (await http.get(url)).status


@router.websocket("/ask")
async def ask_for_a_websocket(socket: WebSocket, url: str, http: Http) -> None:
    await socket.accept()
    await socket.send_json((await http.get(url)).status)
    await socket.close()


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    client = HttpClient(Settings(http_connections=20, http_timeout_s=30))
    yield client
    await client.close()


async def test_a_thousand_calls_at_once_share_the_connections(http: HttpClient) -> None:
    async with host(answers()) as well:
        got = await asyncio.gather(*(http.get(well.url) for _ in range(1000)))
        assert {(answer.status, answer.body) for answer in got} == {(200, b"ok")}
        assert well.requests == 1000
        assert well.connections <= 20


@pytest.mark.parametrize("bad", [hang, answers(after_s=20)], ids=["hangs", "slow"])
async def test_a_host_without_answers_takes_nothing_from_others(http: HttpClient, bad: object) -> None:
    async with host(bad) as hanging, host(answers()) as well:  # type: ignore[arg-type]
        waiting = [asyncio.ensure_future(http.get(hanging.url)) for _ in range(100)]
        await hanging.asked.wait()
        assert [(await http.get(well.url)).status for _ in range(20)] == [200] * 20
        assert not any(call.done() for call in waiting)
        for call in waiting:
            call.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_dead_host_is_left_alone_and_others_are_not(http: HttpClient) -> None:
    async with host(break_off) as dead, host(answers()) as well:
        for _ in range(FAILURES_IN_A_ROW):
            with pytest.raises(UpstreamFailure):
                await http.post(dead.url)
        seen = dead.requests
        with pytest.raises(UpstreamUnavailable) as refused:
            await http.post(dead.url)
        assert refused.value.headers == {"Retry-After": "1"}
        assert dead.requests == seen
        assert (await http.get(well.url)).status == 200


async def test_a_host_is_not_blamed_for_a_caller_that_has_no_time_left(http: HttpClient) -> None:
    async with host(answers()) as well:
        for _ in range(FAILURES_IN_A_ROW):
            with pytest.raises(UpstreamTimeout):
                await http.get(well.url, timeout_s=0)
        assert (await http.get(well.url)).status == 200


async def test_callers_in_a_hurry_close_a_host_to_nobody_else(http: HttpClient) -> None:
    async with host(hang) as slow:
        for _ in range(FAILURES_IN_A_ROW):
            with pytest.raises(UpstreamTimeout):
                await http.get(slow.url, timeout_s=0.01)
        slow.behave = answers()
        assert (await http.get(slow.url)).status == 200


async def test_a_trial_in_a_hurry_takes_no_trial_from_others(http: HttpClient) -> None:
    async with host(break_off) as other:
        for _ in range(FAILURES_IN_A_ROW):
            with pytest.raises(UpstreamFailure):
                await http.post(other.url)
        other.behave = hang
        http._hosts.of(other.url.removeprefix("http://").rstrip("/")).breaker._next_trial = 0
        with pytest.raises(UpstreamTimeout):
            await http.get(other.url, timeout_s=0.01)
        other.behave = answers()
        assert (await http.get(other.url)).status == 200


async def test_a_host_that_hangs_is_left_alone_by_those_who_waited() -> None:
    client = HttpClient(Settings(http_timeout_s=0.05))
    async with host(hang) as hanging:
        for _ in range(FAILURES_IN_A_ROW):
            with pytest.raises(UpstreamTimeout):
                await client.get(hanging.url)
        with pytest.raises(UpstreamUnavailable):
            await client.get(hanging.url)
    await client.close()


async def test_callers_that_wait_for_our_own_connections_close_the_host_to_nobody() -> None:
    client = HttpClient(Settings(http_connections=1, http_timeout_s=1))
    async with host(hang) as other:
        first = asyncio.ensure_future(client.get(other.url, timeout_s=30))
        await other.asked.wait()
        waiting = [client.get(other.url) for _ in range(2 * FAILURES_IN_A_ROW)]
        late = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(error) for error in late} == {UpstreamTimeout}
        assert all("HTTP_CONNECTIONS" in str(error) for error in late)
        assert other.requests == 1
        first.cancel()
        await other.left.wait()
        other.behave = answers()
        assert (await client.get(other.url)).status == 200
    await client.close()


async def test_a_call_that_began_before_a_host_was_left_alone_grants_no_trial(http: HttpClient) -> None:
    async with host(hang) as other:
        breaker = http._hosts.of(other.url.removeprefix("http://").rstrip("/")).breaker
        hurried = asyncio.ensure_future(http.get(other.url, timeout_s=2))
        await other.asked.wait()
        other.behave = break_off
        for _ in range(FAILURES_IN_A_ROW):
            with pytest.raises(UpstreamFailure):
                await http.post(other.url)
        next_trial_s = breaker._next_trial
        with pytest.raises(UpstreamTimeout):
            await hurried
        assert breaker._next_trial == next_trial_s


async def test_a_cancelled_call_frees_its_connection() -> None:
    client = HttpClient(Settings(http_connections=1, http_timeout_s=30))
    async with host(hang) as other:
        call = asyncio.ensure_future(client.get(other.url))
        await other.asked.wait()
        call.cancel()
        await other.left.wait()
        other.behave = answers()
        assert (await client.get(other.url)).status == 200
    await client.close()


async def test_only_idempotent_calls_are_sent_again(http: HttpClient) -> None:
    async with host(answers(503)) as busy:
        assert (await http.get(busy.url)).status == 503
        assert busy.requests == 3
    async with host(answers(503)) as busy:
        assert (await http.post(busy.url, json={})).status == 503
        assert busy.requests == 1


CUT = "HTTP/1.1 200 Any\r\nContent-Length: 10\r\n\r\nhalf"
CUT_IN_CHUNKS = "HTTP/1.1 200 Any\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf"


@pytest.mark.parametrize("text", [CUT, CUT_IN_CHUNKS], ids=["length", "chunks"])
async def test_an_answer_that_is_cut_is_asked_for_again(http: HttpClient, text: str) -> None:
    async with host(says(text, once=True)) as other:
        assert (await http.request("get", other.url)).body == b"ok"
        assert other.requests == 2
    async with host(says(text, once=True)) as other:
        with pytest.raises(UpstreamFailure):
            await http.post(other.url)
        assert other.requests == 1


async def test_a_host_that_says_when_to_come_back_is_not_asked_again(http: HttpClient) -> None:
    async with host(says("HTTP/1.1 503 Any\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n")) as busy:
        assert (await http.get(busy.url)).headers["Retry-After"] == "120"
        assert busy.requests == 1


async def test_an_answer_that_cannot_be_decoded_is_not_asked_for_again(http: HttpClient) -> None:
    async with host(says("HTTP/1.1 200 Any\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")) as other:
        with pytest.raises(UpstreamFailure):
            await http.get(other.url)
        assert other.requests == 1


async def test_an_answer_that_nobody_asked_for_answers_no_other_request(http: HttpClient) -> None:
    said = asyncio.Event()

    async def speaks_unasked(other: FakeHost, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD.format(status=200).encode())
        if other.requests == 1:
            await writer.drain()
            await answered.wait()
            writer.write(HEAD.format(status=418).encode())
            said.set()

    answered = asyncio.Event()
    async with host(speaks_unasked) as other:
        assert (await http.get(other.url)).status == 200
        answered.set()
        await said.wait()
        async with asyncio.timeout(10):
            while not _has_unread(http):  # noqa: ASYNC110 - the socket tells nobody else
                await asyncio.sleep(0)
        assert (await http.post(other.url)).status == 200
        assert other.connections == 2


def _has_unread(http: HttpClient) -> bool:
    kept = http._session.connector._conns.values()  # type: ignore[union-attr]
    return any(protocol.should_close for connections in kept for protocol, _ in connections)


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("a%2Fb/%7e?sig=a%2Fb%3D&x=%28", "/a%2Fb/%7e?sig=a%2Fb%3D&x=%28"),  # a signature covers the escapes
        ("ü?q=a b", "/%C3%BC?q=a+b"),
        ("?x=1#part", "/?x=1"),
    ],
)
async def test_a_url_is_sent_as_it_is_written_or_quoted(http: HttpClient, asked: str, sent: str) -> None:
    async with host(answers()) as well:
        await http.get(well.url + asked)
        assert well.heads[-1].startswith(f"GET {sent} HTTP/1.1\r\n")


async def test_json_may_begin_with_a_byte_order_mark() -> None:
    assert Answer(200, {}, b'\xef\xbb\xbf{"a": 1}').json() == {"a": 1}


async def test_a_scheme_that_is_not_http_is_a_mistake_and_no_failure(http: HttpClient) -> None:
    with pytest.raises(aiohttp.ClientError):
        await http.get("ftp://example.com/")


async def test_retries_end_with_their_budget() -> None:
    stats = HostStats("budget")
    tried = Host("budget", stats, 1)
    granted = 0
    for _ in range(100):
        tried.called()
        granted += tried.may_retry()
    assert granted <= RETRIES_KEPT + 10


async def test_hosts_that_clients_choose_share_a_series() -> None:
    hosts = Hosts(1)
    found = [hosts.of(f"host-{number}") for number in range(MOST_HOSTS + 2)]
    assert {each.stats.label for each in found[MOST_HOSTS:]} == {OTHERS}
    assert len(hosts._hosts) == MOST_HOSTS


async def test_a_deadline_is_the_less_of_the_calls_and_the_requests_and_headers_are_passed_on() -> None:
    nowhere = SecretStr("postgresql://u:p@127.0.0.1:1/db"), SecretStr("redis://127.0.0.1:1/0")
    settings = Settings(
        database_url=nowhere[0], redis_url=nowhere[1], request_timeout_s=0.5, http_timeout_s=60, db_connection_budget=8
    )
    app = Bare(settings, [router])
    async with app.router.lifespan_context(app), host(hang) as hanging, host(answers()) as well:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service.example") as client:
            late = await client.get("/ask", params={"url": hanging.url})
            assert (late.status_code, late.json()["type"]) == (504, "urn:problem:upstream-timeout")
            assert (await client.get("/ask", params={"url": well.url}, headers={"X-Request-ID": "abc"})).json() == 200
            assert "X-Request-ID: abc\r\n" in well.heads[-1]
            documented = (await client.get("/openapi.json")).json()["paths"]["/ask"]["get"]["responses"]
            assert {"502", "503", "504"} <= set(documented)


async def test_a_websocket_calls_others_too() -> None:
    nowhere = SecretStr("postgresql://u:p@127.0.0.1:1/db"), SecretStr("redis://127.0.0.1:1/0")
    app = Bare(Settings(database_url=nowhere[0], redis_url=nowhere[1], db_connection_budget=8), [router])
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async with app.router.lifespan_context(app), host(answers()) as well:
        query = urlencode({"url": well.url}).encode()
        scope = {"type": "websocket", "scheme": "ws", "path": "/ask", "query_string": query, "headers": []}
        await app(scope, receive, send)
    assert [message.get("text") for message in sent] == [None, "200", None]


async def test_a_call_has_a_time_of_its_own(http: HttpClient) -> None:
    async with host(hang) as hanging:
        with pytest.raises(UpstreamTimeout):
            await http.get(hanging.url, timeout_s=0.05)


async def test_an_answer_that_is_too_long_is_refused(http: HttpClient) -> None:
    async with host(answers()) as well:
        with pytest.raises(UpstreamFailure):
            await http.get(well.url, max_bytes=1)


async def test_an_unknown_certificate_is_refused(http: HttpClient, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    name = [
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    await asyncio.to_thread(subprocess.run, [*new, *name], check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    async with host(answers(), tls) as unknown:
        with pytest.raises(UpstreamFailure):
            await http.get(unknown.url)
        assert unknown.requests == 0


def test_a_service_without_calls_does_not_load_the_client() -> None:
    code = "import sys, service.main, brigade.app; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
