"""Measures a window: sends its load and its ping out of processes of their own, and puts together what they counted."""

import gc
import resource
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from typing import Protocol

from proof.prove.client import ask, ask_load
from proof.prove.connection import Address
from proof.prove.generate import run_load, run_outage, run_spin
from proof.prove.machine import cpu_seconds
from proof.prove.ping import run_ping
from proof.prove.stage import Stage
from proof.prove.window import Load, Sample, Tally, Window, percentiles

Started = tuple[Future[Tally] | None, Future[Tally] | None, list[Future[int]]]

WARM_UP_S = 0.3
CONNECTS_PER_S = 1200
QUICK_S = 0.05
CALM_TIMEOUT_S = 12.0
SPARE_FILES = 500


class Probe(Protocol):
    def begin(self) -> None: ...

    def end(self) -> None: ...


class Bench:
    """`stage` holds the services, `processes` the generators. One window at a time."""

    def __init__(self, stage: Stage, processes: ProcessPoolExecutor) -> None:
        self._stage = stage
        self._processes = processes

    def measure(self, window: Window, probe: Probe | None = None) -> Sample:
        """Measure one window. `probe` looks at the service from its beginning to its end."""
        url = self._stage.url(window.workers)
        if not window.spin:
            self._calm(window)
        begin = time.monotonic() + WARM_UP_S + (window.load.users / CONNECTS_PER_S if window.load else 0.0)
        end = begin + window.seconds
        load, ping, spins = self._start(window, Address.of(url), begin, end)
        if window.outage_ms:
            path = f"/lab/sleep/blocking?ms={window.outage_ms}"
            self._processes.submit(run_outage, Address.of(url), path, begin + window.seconds / 2)
        _sleep_until(begin)
        before = cpu_seconds()
        if probe:
            probe.begin()
        _sleep_until(end - 0.3)
        workers = self._stage.state(window.workers)["workers"] if window.memory else []
        _sleep_until(end)
        if probe:
            probe.end()
        after = cpu_seconds()
        sample = _sample(window, load, ping, spins)
        ours, starved, busy = ((now - then) / window.seconds for now, then in zip(after, before, strict=True))
        return replace(
            sample,
            memory_mb=sum(worker["rss_mb"] for worker in workers),
            foreign_cores=round(max(0.0, busy - ours), 2),
            starved_cores=round(starved, 2),
        )

    def _start(self, window: Window, address: Address, begin: float, end: float) -> Started:
        submit = self._processes.submit
        load = submit(run_load, address, window.load, window.workers, begin, end) if window.load else None
        ping = submit(run_ping, address, begin, end) if window.ping else None
        return load, ping, [submit(run_spin, begin, end) for _ in range(window.spin)]

    def _calm(self, window: Window) -> None:
        """Wait for what the window before left behind: a blocked queue runs on after its clients have gone."""
        url = self._stage.url(window.workers)
        try:
            _wait_until_quick(url)
            self._stage.settle()
            # Once, so that what only the first request pays for is not measured.
            ask_load(url, window.load or Load("/livez", 1), timeout_s=CALM_TIMEOUT_S)
        except OSError:
            self._stage.recover(window.workers)


def _wait_until_quick(url: str) -> None:
    deadline = time.monotonic() + CALM_TIMEOUT_S
    quick = 0
    while quick < 3 and (left_s := deadline - time.monotonic()) > 0:
        started = time.monotonic()
        ask(url, "/livez", timeout_s=left_s)
        quick = quick + 1 if time.monotonic() - started < QUICK_S else 0


def _sleep_until(moment: float) -> None:
    time.sleep(max(0, moment - time.monotonic()))


def _sample(window: Window, load: Future[Tally] | None, ping: Future[Tally] | None, spins: list[Future[int]]) -> Sample:
    loaded, pinged = (counted.result() if counted else Tally() for counted in (load, ping))
    return Sample(
        window=window.name,
        workers=window.spin or window.workers,
        seconds=window.seconds,
        done=sum(spin.result() for spin in spins) or len(loaded.latencies_ms),
        statuses=dict(loaded.statuses) or ({"no answer": window.load.users} if window.load else {}),
        latency_ms=percentiles(loaded.latencies_ms),
        ping_ms=percentiles(pinged.latencies_ms),
        by_worker=dict(loaded.by_worker),
        connected=loaded.connected,
        generator=loaded.use if window.load else pinged.use,
    )


@contextmanager
def generators(most: int) -> Iterator[ProcessPoolExecutor]:
    """`most` processes, imported and waiting; spawned, because a fork would inherit this process's threads and locks."""
    # A garbage collection in a generator would be taken for the service's latency.
    with ProcessPoolExecutor(most, mp_context=get_context("spawn"), initializer=gc.disable) as processes:
        now = time.monotonic()
        for started in [processes.submit(run_spin, now + 0.5, now + 0.5) for _ in range(most)]:
            started.result()
        yield processes


def raise_file_limit() -> int:
    """The connections that one process can then hold."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - SPARE_FILES
