"""More requests than the service can answer, at a rate that does not wait for answers: what it still answers, and how fast.

Requests are sent when they are due, each on a kept connection that is free, by a process of its own.
"""

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import uvloop

from loadtests.prove.connection import Address, Connection, connect, get

FIRST_RATE = 100.0
SECONDS = 4.0
CONNECTIONS = 2000
AT_A_TIME = 50
PATIENCE_S = 5.0
TICK_S = 0.002


@dataclass
class Wave:
    """What came of `rate` requests a second for some seconds."""

    rate: float
    seconds: float
    sent: int = 0
    late: int = 0
    """Due, and never sent: every connection waited for an answer already."""
    statuses: Counter[str] = field(default_factory=Counter)
    good_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    health_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    """What the service used: on a machine that others use too, answers for each second of it say more than a second's."""

    @property
    def goodput(self) -> float:
        return len(self.good_s) / self.seconds


def climb(url: str, path: str, cpu_s: Callable[[], float]) -> Iterator[Wave]:
    """Twice the rate each time, until no more is answered than before; then five times the most that was."""
    best, rate = 0.0, FIRST_RATE
    while True:
        wave = send(url, path, rate, SECONDS, cpu_s)
        yield wave
        if wave.goodput < max(best, 0.8 * rate):
            break
        best, rate = wave.goodput, 2 * rate
    yield send(url, path, 5 * max(best, wave.goodput), SECONDS, cpu_s)


def p99_ms(values_s: Sequence[float]) -> float:
    ordered = sorted(values_s) or [0.0]
    return 1000 * ordered[len(ordered) * 99 // 100]


def send(url: str, path: str, rate: float, seconds: float, cpu_s: Callable[[], float]) -> Wave:
    """In a process of its own: ours is not to compete with what it measures."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        process.submit(time.monotonic).result()
        before_s = cpu_s()
        wave = process.submit(_send, url, path, rate, seconds).result()
        wave.cpu_s = cpu_s() - before_s
    return wave


def _send(url: str, path: str, rate: float, seconds: float) -> Wave:
    return uvloop.run(_Sender(Address.of(url), path, Wave(rate, seconds)).run())


class _Sender:
    def __init__(self, address: Address, path: str, wave: Wave) -> None:
        self.address, self.wave = address, wave
        self.request = get(path, address.host)
        self.idle: list[Connection] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> Wave:
        for _ in range(CONNECTIONS // AT_A_TIME):
            self.idle += await asyncio.gather(*[connect(self.address) for _ in range(AT_A_TIME)])
        wave, began = self.wave, time.monotonic()
        health = asyncio.create_task(self._ask_health())
        due = 0
        while (now := time.monotonic() - began) < wave.seconds:
            while due < now * wave.rate:
                due += 1
                self._begin()
            await asyncio.sleep(TICK_S)
        await asyncio.wait(self.tasks or {health}, timeout=PATIENCE_S)
        health.cancel()
        for connection in self.idle:
            connection.transport.abort()
        return wave

    def _begin(self) -> None:
        if not self.idle:
            self.wave.late += 1
            return
        task = asyncio.create_task(self._ask(self.idle.pop()))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _ask(self, connection: Connection) -> None:
        wave, began = self.wave, time.monotonic()
        wave.sent += 1
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await connection.ask(self.request)
        except (OSError, TimeoutError) as error:
            wave.statuses[type(error).__name__] += 1
            connection.transport.abort()
            return
        wave.statuses[str(answer.status)] += 1
        (wave.good_s if answer.status < 400 else wave.refused_s).append(time.monotonic() - began)
        self.idle.append(connection)

    async def _ask_health(self) -> None:
        connection = await connect(self.address)
        while True:
            began = time.monotonic()
            await connection.ask(get("/livez", self.address.host))
            self.wave.health_s.append(time.monotonic() - began)
            await asyncio.sleep(0.1)
