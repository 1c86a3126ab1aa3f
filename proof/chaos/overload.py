"""More requests than the service can answer, at a rate that does not wait for answers: what it still answers, and how fast.

Requests are sent when they are due, each on a kept connection that is free, by a process of its own.
"""

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import uvloop

from proof.prove.connection import Address, Connection, ask_once, connect, get

ROUTES = {
    "the CPU lane, 20 ms": ("/lab/cpu/in-lane?ms=20", 10.0),
    "slow SQL, 20 ms": ("/lab/io/db?ms=20", 100.0),
    "reading a link": ("/links/{code}", 250.0),
    "a redirect": ("/r/{code}", 1000.0),
}
"""Routes by name: the path, and a rate that is well below what one worker can answer."""

KEEPS = 0.9
"""Share of its best that a route must still answer at five times that load."""

HEALTH = ("/livez", "/readyz")
HEALTH_PAUSE_S = 0.1

RAMP_S, SECONDS = 1.5, 5.5
"""A wave is counted from its first to its last second: before, the service fills up with requests."""
CONNECTIONS = 2000
AT_A_TIME = 50
PATIENCE_S = 5.0
TICK_S = 0.002


@dataclass
class Wave:
    """The results of `rate` requests a second for some seconds."""

    rate: float
    late: int = 0
    """Due, and never sent: every connection waited for an answer already."""
    statuses: Counter[str] = field(default_factory=Counter)
    good_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    health_s: dict[str, list[float]] = field(default_factory=lambda: {path: [] for path in HEALTH})
    cpu_s: float = 0.0
    """CPU time that the worker used."""
    waited_s: float = 0.0
    """How long the worker could run and had no core, because the generator, Postgres or other programs used them."""
    own_cpu_s: float = 0.0
    """CPU time that the generator used. If it is near the length of the wave, the generator was the bottleneck."""

    @property
    def goodput(self) -> float:
        return len(self.good_s) / (SECONDS - RAMP_S)

    @property
    def with_a_core(self) -> float:
        """Answers for each second in which the worker ran, or had nothing to do."""
        return len(self.good_s) / max(SECONDS - RAMP_S - self.waited_s, 0.01)


@dataclass(frozen=True)
class Climb:
    name: str
    waves: list[Wave]
    """The last has five times the load of the best."""

    @property
    def best(self) -> Wave:
        return max(self.waves[:-1], key=lambda wave: wave.with_a_core)

    @property
    def kept(self) -> float:
        return self.waves[-1].with_a_core / max(self.best.with_a_core, 1.0)


def climb(url: str, path: str, rate: float, pid: int) -> Iterator[Wave]:
    """Twice the rate each time, until no more is answered than before; then five times the most that was."""
    best = 0.0
    while True:
        wave = send(url, path, rate, pid)
        yield wave
        if wave.goodput < max(best, 0.8 * rate):
            break
        best, rate = wave.goodput, 2 * rate
    yield send(url, path, 5 * max(best, wave.goodput), pid)


def p99_ms(values_s: Sequence[float]) -> float:
    ordered = sorted(values_s) or [0.0]
    return 1000 * ordered[len(ordered) * 99 // 100]


def send(url: str, path: str, rate: float, pid: int) -> Wave:
    """Send requests from a process of its own, so that this one does not compete with what it measures."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_send, url, path, rate, pid).result()


def _send(url: str, path: str, rate: float, pid: int) -> Wave:
    return uvloop.run(_Sender(Address.of(url), path, Wave(rate), psutil.Process(pid)).run())


class _Sender:
    def __init__(self, address: Address, path: str, wave: Wave, worker: psutil.Process) -> None:
        self.address, self.wave, self.worker = address, wave, worker
        self.request = get(path, address.host)
        self.idle: list[Connection] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.counting = False
        self.waited_s: dict[str, float] = {}

    async def run(self) -> Wave:
        for _ in range(CONNECTIONS // AT_A_TIME):
            self.idle += await asyncio.gather(*[connect(self.address) for _ in range(AT_A_TIME)])
        wave, began = self.wave, time.monotonic()
        health = [asyncio.create_task(self._ask_health(path, until=began + SECONDS)) for path in HEALTH]
        due = 0
        while (now := time.monotonic() - began) < SECONDS:
            if now >= RAMP_S and not self.counting:
                self.counting, self.waited_s = True, waited_s(self.worker.pid)
                self._note_cpu(-1)
            while due < now * wave.rate:
                due += 1
                self._begin()
            await asyncio.sleep(TICK_S)
        self.counting = False
        self._note_cpu(1)
        waits = [now_s - self.waited_s.get(thread, 0.0) for thread, now_s in waited_s(self.worker.pid).items()]
        wave.waited_s = max(waits, default=0.0)
        await asyncio.wait([*self.tasks, *health])
        for connection in self.idle:
            connection.transport.abort()
        return wave

    def _note_cpu(self, sign: int) -> None:
        times = self.worker.cpu_times()
        self.wave.cpu_s += sign * (times.user + times.system)
        self.wave.own_cpu_s += sign * time.process_time()

    def _begin(self) -> None:
        if not self.idle:
            self.wave.late += self.counting
            return
        task = asyncio.create_task(self._ask(self.idle.pop()))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _ask(self, connection: Connection) -> None:
        wave, began = self.wave, time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await connection.ask(self.request)
        except (OSError, TimeoutError) as error:
            wave.statuses[type(error).__name__] += 1
            connection.transport.abort()
            return
        self.idle.append(connection)
        if self.counting:
            wave.statuses[str(answer.status)] += 1
            (wave.good_s if answer.status < 400 else wave.refused_s).append(time.monotonic() - began)

    async def _ask_health(self, path: str, *, until: float) -> None:
        """Ask on a new connection each time, as supervisors do. No answer counts as
        `PATIENCE_S`.
        """
        while (began := time.monotonic()) < until:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await ask_once(self.address, path)
            self.wave.health_s[path].append(time.monotonic() - began)
            await asyncio.sleep(HEALTH_PAUSE_S)


def waited_s(pid: int) -> dict[str, float]:
    """Return for each thread how long it could run and did not, or nothing if the kernel does not count it."""
    counts: dict[str, float] = {}
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):
            counts[thread.name] = int((thread / "schedstat").read_text().split()[1]) / 1e9
    return counts
