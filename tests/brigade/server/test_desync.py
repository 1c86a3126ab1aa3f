"""Ambiguous requests, straight to the service and through real proxies, idle and full: no answer is for another request,
and the proxy has seen as many answers as the service gave.
"""

import asyncio
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.brigade.server.ambiguous import cases
from tests.brigade.server.clients import ask
from tests.brigade.server.conftest import Gunicorn
from tests.brigade.server.proxies import COMMANDS, Proxy, proxy

END = b"GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
ABREAST = 250
QUIET_S = 2.5
"""An answer may wait for a second, as the service does not read for that long after a refusal."""


@pytest.fixture(scope="module", params=["idle", "full"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    is_full = request.param == "full"
    most = "1" if is_full else "1000"
    gunicorn = Gunicorn(tmp_path_factory.mktemp("desync"), 1, app="echo:app", MAX_IN_FLIGHT=most)
    try:
        gunicorn.until(gunicorn.serving)
        with socket.create_connection(("127.0.0.1", gunicorn.port)) as client:
            if is_full:
                client.sendall(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
                gunicorn.until(lambda: b" 503 " in ask(gunicorn.port, "/"))
            yield gunicorn
    finally:
        gunicorn.kill()


def counts(service: Gunicorn) -> tuple[int, Counter[str]]:
    """How many answers the service has given, and those of the application by path."""
    said = json.loads(ask(service.port, "/counts").partition(b"\r\n\r\n")[2])
    served = Counter(said["served"])
    return said["refused"] + served.total(), served


async def exchange(port: int, parts: tuple[bytes, ...], *, end: bool) -> bytes:
    """All that comes back, until the other side closes or is silent."""
    received = b""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with suppress(OSError):  # also "not connected", where it was closed before our own end
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02)
        if end:
            writer.write_eof()
        while piece := await asyncio.wait_for(reader.read(65536), QUIET_S):
            received += piece
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return received


async def exchange_all(port: int, *, end: bool) -> list[tuple[bytes, bytes]]:
    """Each case in one piece, and cut in the middle of its body and of its head."""
    room = asyncio.Semaphore(ABREAST)

    async def one(case: bytes, place: int) -> tuple[bytes, bytes]:
        async with room:
            return case, await exchange(port, (case[:place], case[place:] + END) if place else (case + END,), end=end)

    return await asyncio.gather(
        *(one(case, place) for case in cases() for place in (0, case.find(b"\r\n\r\n") + 3, max(1, len(case) - 20)))
    )


def test_the_service_answers_no_request_that_nobody_sent(service: Gunicorn) -> None:
    answers = asyncio.run(exchange_all(service.port, end=True))
    for case, answer in answers:
        paths = [path.decode() for path in re.findall(rb"\r\nx-served: ([^\r]*)", answer)]
        assert "/smuggled" not in paths, case
    assert "/smuggled" not in counts(service)[1]


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_proxy_and_the_service_see_the_same_requests(service: Gunicorn, kind: str, tmp_path: Path) -> None:
    total, served = counts(service)
    with proxy(kind, tmp_path / kind, service.port) as front:
        asyncio.run(exchange_all(front.port, end=False))
        _compare(service, front, total, served)


def _compare(service: Gunicorn, front: Proxy, total: int, served: Counter[str]) -> None:
    deadline = time.monotonic() + 10
    while True:  # the last lines may be on their way to the log
        total_now, served_now = counts(service)
        given = (total_now - total, served_now - served)
        if given == front.answers() or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert front.answers() == given
    assert given[0] > 100
