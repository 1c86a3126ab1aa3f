"""Keep-alive connections over workers: how evenly they are taken, and that nobody waits for a worker that cannot take any."""

import asyncio
import os
import resource
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

import pytest
import uvloop

from brigade.server.balance import Acceptor
from brigade.server.lifecycle import State, lifecycle, roster
from tests.brigade.server.conftest import Gunicorn, Start

GET = b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n"


@contextmanager
def connected(gunicorn: Gunicorn, clients: int) -> Iterator[list[socket.socket]]:
    """All at once."""
    with ExitStack() as stack:
        address = ("127.0.0.1", gunicorn.port)
        yield [stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(clients)]


def ask(client: socket.socket, path: bytes = b"/") -> tuple[int, bool]:
    """The worker that answered, and whether it keeps the connection."""
    client.sendall(GET % path)
    answer = b""
    while not answer.partition(b"\r\n\r\n")[2]:
        received = client.recv(65536)
        if not received:
            raise ConnectionResetError
        answer += received
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(body.split()[0]), b"connection: close" not in head


def max_to_mean(held: Counter[int], workers: int) -> float:
    return max(held.values()) * workers / held.total()


def test_connections_are_shared_evenly(start: Start) -> None:
    gunicorn = start(4)
    time.sleep(0.5)  # until all four have heard of each other
    with connected(gunicorn, 60) as clients:
        held = Counter(ask(client)[0] for client in clients)
    assert max_to_mean(held, 4) <= 1.5, held  # left to the kernel, one of four has had all 60


def test_nobody_waits_for_a_worker_that_is_blocked(start: Start) -> None:
    gunicorn = start(2, WORKER_TIMEOUT_S="10")
    with connected(gunicorn, 1) as [blocked]:
        pid, _ = ask(blocked)
        blocked.sendall(GET % b"/block?s=4")
        time.sleep(0.2)
        began = time.monotonic()
        with connected(gunicorn, 30) as clients:
            assert {ask(client)[0] for client in clients} == gunicorn.worker_pids() - {pid}
            assert time.monotonic() - began < 3.5


def test_successor_of_a_dead_worker_gets_its_share(start: Start) -> None:
    gunicorn = start(2)
    with connected(gunicorn, 40) as clients:
        dead = ask(clients[0])[0]
        os.kill(dead, signal.SIGKILL)
        gunicorn.until(lambda: len(gunicorn.events("started")) == 3)
        with ExitStack() as reconnected:
            held = keep_asking(gunicorn, clients, reconnected)
    assert max_to_mean(held, 2) <= 1.5, held


def keep_asking(gunicorn: Gunicorn, clients: list[socket.socket], stack: ExitStack) -> Counter[int]:
    """As clients do that connect anew when they are told to, or cut off by the death of their worker."""
    held: Counter[int] = Counter()
    for _ in range(60):
        held.clear()
        for number, client in enumerate(clients):
            try:
                pid, kept = ask(client)
                held[pid] += 1
            except ConnectionError:
                kept = False
            if not kept:
                address = ("127.0.0.1", gunicorn.port)
                clients[number] = stack.enter_context(socket.create_connection(address, timeout=10))
        if len(held) == 2 and max_to_mean(held, 2) <= 1.5:
            break
        time.sleep(0.1)
    return held


class Farewell(asyncio.Protocol):
    """Ends each connection, so that a client sees that it was accepted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def accepted(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


@asynccontextmanager
async def crowded(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Acceptor, tuple[str, int]]]:
    """An acceptor with more than its share: it closes its listener for a moment after each connection."""
    slot, other = roster.enter(1), roster.enter(2)
    roster[other].last_beat = time.monotonic() + 60
    monkeypatch.setattr(lifecycle, "connections", 10)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    acceptor = Acceptor(Farewell, slot=slot, alone=False, ssl=None, backlog=10)
    await acceptor.start([listener])
    try:
        yield acceptor, listener.getsockname()
    finally:
        await acceptor.stop()
        for used in (slot, other):
            roster.set_state(used, State.GONE)


def test_a_blocked_loop_accepts_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        time.sleep(0.2)
        asyncio.get_running_loop().call_soon(turn)

    def turns_until_accepted(address: tuple[str, int], clients: int) -> int:
        before = turns
        with ExitStack() as stack:
            for client in [stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(clients)]:
                assert client.recv(1) == b""
        return turns - before

    async def accept(clients: int) -> int:
        async with crowded(monkeypatch) as (_, address):
            turn()
            await asyncio.sleep(0.5)
            return await asyncio.to_thread(turns_until_accepted, address, clients)

    assert uvloop.run(asyncio.wait_for(accept(9), 20)) < 9, "a turn accepts more than one"


@contextmanager
def no_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_listener_that_cannot_be_opened_again_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def run_out() -> None:
        async with crowded(monkeypatch) as (_, address):
            await accepted(address)
            with no_descriptors():
                while "No new connections are accepted" not in caplog.text:  # noqa: ASYNC110 - a log has no event
                    await asyncio.sleep(0.01)
            await accepted(address)

    with caplog.at_level("WARNING", "gunicorn.error"):
        uvloop.run(asyncio.wait_for(run_out(), 20))
    assert "New connections are accepted again" in caplog.text


def test_stop_without_descriptors_is_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stop() -> None:
        async with crowded(monkeypatch) as (acceptor, address):
            await accepted(address)
            with no_descriptors():
                await asyncio.sleep(0.2)  # longer than it leaves connections to the others
                await acceptor.stop()

    uvloop.run(asyncio.wait_for(stop(), 20))
