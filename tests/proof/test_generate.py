"""The load generator against small servers whose behaviour is known exactly."""

import asyncio
import itertools
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from statistics import mean, variance

import pytest

from proof.prove.connection import Address
from proof.prove.generate import moments, run_load
from proof.prove.ping import run_ping
from proof.prove.window import Load, percentiles


class Server:
    """Each connection belongs to one worker, in turn. `serially`: one request at a time, as in a blocked service."""

    def __init__(self, answer_after_s: float, *, workers: int, status: str, serially: bool) -> None:
        self.answer_after_s, self.workers, self.status, self.serially = answer_after_s, workers, status, serially
        self.ready = threading.Event()
        self.connections = 0

    async def run(self) -> None:
        self.loop, self.over, self.turn = asyncio.get_running_loop(), asyncio.Event(), asyncio.Lock()
        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[None]] = []
            listening = await asyncio.start_server(
                lambda reader, writer: tasks.append(group.create_task(self.serve(reader, writer))), "127.0.0.1", 0
            )
            self.address = Address(*listening.sockets[0].getsockname())
            self.ready.set()
            await self.over.wait()
            listening.close()
            for task in tasks:
                task.cancel()
        await asyncio.sleep(0.1)  # the transports close on their own time

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        worker, self.connections = self.connections % self.workers, self.connections + 1
        head = f"HTTP/1.1 {self.status}\r\nX-Worker: w{worker}\r\nContent-Length: 2\r\n\r\n".encode()
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            try:
                while await reader.readuntil(b"\r\n\r\n"):
                    async with self.turn if self.serially else nullcontext():
                        await asyncio.sleep(self.answer_after_s)
                    writer.write(head + b"ok")
            finally:
                writer.transport.abort()


@contextmanager
def server(
    answer_after_s: float, *, workers: int = 1, status: str = "200 OK", serially: bool = False
) -> Iterator[Address]:
    running = Server(answer_after_s, workers=workers, status=status, serially=serially)
    thread = threading.Thread(target=lambda: asyncio.run(running.run()))
    thread.start()
    assert running.ready.wait(10)
    yield running.address
    running.loop.call_soon_threadsafe(running.over.set)
    thread.join()


def _soon(seconds: float) -> tuple[float, float]:
    begin = time.monotonic() + 0.5
    return begin, begin + seconds


def test_load_is_a_closed_loop_of_so_many_users() -> None:
    with server(0.1) as address:
        tally = run_load(address, Load("/", 20), 1, *_soon(2))
    # 20 users, each 10 times a second, for 2 s.
    assert tally.statuses["200"] == pytest.approx(400, rel=0.25)
    assert percentiles(tally.latencies_ms).p50 == pytest.approx(100, rel=0.3)


def test_load_that_is_served_one_by_one_shows_it() -> None:
    with server(0.1, serially=True) as address:
        tally = run_load(address, Load("/", 5), 1, *_soon(2))
    assert tally.statuses["200"] == pytest.approx(20, abs=5)
    assert percentiles(tally.latencies_ms).p50 == pytest.approx(500, rel=0.3)


def test_load_that_is_placed_reaches_each_worker_by_as_many_connections() -> None:
    with server(0.05, workers=3) as address:
        tally = run_load(address, Load("/", 6, placed=True), 3, *_soon(1))
    assert sorted(tally.by_worker) == ["w0", "w1", "w2"]
    assert max(tally.by_worker.values()) <= 1.3 * min(tally.by_worker.values())


def test_load_comes_back_later_when_it_is_told_to() -> None:
    with server(0, status="503 Service Unavailable") as address:
        tally = run_load(address, Load("/", 4), 1, *_soon(2))
    assert 4 <= tally.statuses["503"] <= 20
    assert not tally.latencies_ms


def test_load_counts_a_server_that_is_not_there() -> None:
    tally = run_load(Address("127.0.0.1", 9), Load("/", 2), 1, *_soon(1))
    assert set(tally.statuses) == {"ConnectionRefusedError"}


def test_load_with_fresh_connections_makes_one_for_each_request() -> None:
    with server(0.02, workers=10**6) as address:
        tally = run_load(address, Load("/", 2, fresh=True), 1, *_soon(1))
    assert len(tally.by_worker) == tally.statuses["200"] > 20


def test_load_that_is_held_is_asked_again_at_the_end() -> None:
    with server(0) as address:
        tally = run_load(address, Load("/", 300, hold=True), 1, *_soon(1))
    assert tally.connected == 300
    assert tally.statuses == {"200": 300}


def test_arrivals_come_evenly_or_as_a_poisson_process() -> None:
    random.seed(7)
    even = list(moments(Load("/", 1, arrivals=50), 0, 100))
    assert {round(later - earlier, 6) for earlier, later in itertools.pairwise(even)} == {0.02}
    begins = [each * math.pi for each in range(100)]
    assert {len(list(moments(Load("/", 1, arrivals=20), begin, begin + 2))) for begin in begins} == {40}
    assert len(list(moments(Load("/", 1, arrivals=20.3), 0, 2))) == 41
    counts = Counter(int(due) for due in moments(Load("/", 1, arrivals=50, poisson=True), 0, 1000))
    # In a Poisson process the variance of the count of a second is its mean.
    assert mean(counts.values()) == pytest.approx(50, rel=0.02)
    assert variance(counts.values()) == pytest.approx(50, rel=0.15)


def test_arrivals_do_not_slow_down_with_the_server_and_count_from_when_they_were_due() -> None:
    with server(0.1, serially=True) as address:
        waiting = run_load(address, Load("/", 1), 1, *_soon(2))
        arriving = run_load(address, Load("/", 1, arrivals=20), 1, *_soon(2))
    assert percentiles(waiting.latencies_ms).max < 500
    # 40 came in 2 s and 20 were served: the 20 that still wait count, too, and the last served waited for 1 s.
    assert len(arriving.latencies_ms) == 40
    assert percentiles(arriving.latencies_ms).max == pytest.approx(1000, rel=0.25)


def test_ping_that_waits_counts_for_all_that_would_have_come_meanwhile() -> None:
    with server(0) as address:
        quick = run_ping(address, *_soon(1))
    with server(0.4) as address:
        slow = run_ping(address, *_soon(2))
    assert len(quick.latencies_ms) == pytest.approx(200, rel=0.25)
    assert len(slow.latencies_ms) == pytest.approx(400, rel=0.25)
    # Who comes at any moment of a freeze of 400 ms waits for 200 on average, and 400 at worst.
    found = percentiles(slow.latencies_ms)
    assert found.p50 == pytest.approx(200, rel=0.25)
    assert found.p99 == pytest.approx(400, rel=0.25)


def test_ping_that_is_never_answered_is_as_late_as_the_window_is_long() -> None:
    with server(60) as address:
        tally = run_ping(address, *_soon(1))
    assert percentiles(tally.latencies_ms).max == pytest.approx(1000, rel=0.2)


def test_generator_notes_how_much_it_computed() -> None:
    with server(0.1) as address:
        idle = run_load(address, Load("/", 1), 1, *_soon(1)).use
    assert 0 < idle.cpu < 0.5
