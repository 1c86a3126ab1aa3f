"""The code of a generator process: a load, or plain computing, between two moments of the monotonic clock."""

import asyncio
import math
import random
import time
from collections.abc import Iterator
from contextlib import suppress

import uvloop

from proof.prove.connection import Address, Connection, ask_once, connect, connect_to_each, get, request_of
from proof.prove.meter import metered
from proof.prove.window import Load, Tally

AFTER_503_S = 0.5
"""Seconds to wait after a 503. A client that asked again at once would only measure refusals."""
LATE_S = 10.0


def run_load(address: Address, load: Load, workers: int, begin: float, end: float) -> Tally:
    return uvloop.run(_load(address, load, workers, begin, end))


def run_spin(begin: float, end: float) -> int:
    """How many rounds of plain Python this process did."""
    while time.monotonic() < begin:
        time.sleep(0.001)
    rounds = 0
    while time.monotonic() < end:
        sum(range(20_000))
        rounds += 1
    return rounds


async def _load(address: Address, load: Load, workers: int, begin: float, end: float) -> Tally:
    tally = Tally()
    if load.hold:
        return await _hold(address, load, tally, begin, end)
    if load.arrivals:
        return await _arrive(address, load, tally, begin, end)
    ready: list[Connection] = await connect_to_each(address, load.users, workers) if load.placed else []
    users = [_user(address, load, tally, begin, ready.pop() if ready else None) for _ in range(load.users)]
    async with metered(tally, begin, end):
        tasks = [asyncio.create_task(user) for user in users]
        await _end(tasks, end)
    return tally


def moments(load: Load, begin: float, end: float) -> Iterator[float]:
    """Yield when each request is due: evenly spaced, or at the moments of a Poisson process."""
    if not load.poisson:
        # Counted: the sum of 40 times 0.05 may end just below 2, and would add a request.
        count = math.ceil((end - begin) * load.arrivals - 1e-6)
        yield from (begin + each / load.arrivals for each in range(count))
        return
    due = begin
    while due < end:
        yield due
        due += random.expovariate(load.arrivals)


async def _arrive(address: Address, load: Load, tally: Tally, begin: float, end: float) -> Tally:
    """Send each request at its moment. Its latency counts from then on, so that no wait is left out.

    A request without an answer at the end counts as late as it is by then.
    """
    request, idle, waiting = request_of(load, address.host), list[Connection](), dict[asyncio.Task[None], float]()

    async def ask(due: float) -> None:
        connection = idle.pop() if idle else await connect(address)
        try:
            answer = await connection.ask(request)
        except BaseException:
            connection.transport.abort()
            raise
        tally.statuses[str(answer.status)] += 1
        tally.by_worker[answer.worker] += 1
        if answer.status < 400:
            tally.latencies_ms.append((time.monotonic() - due) * 1000)
        idle.append(connection)

    async with metered(tally, begin, end):
        for due in moments(load, begin, end):
            await asyncio.sleep(due - time.monotonic())
            waiting[asyncio.create_task(ask(due))] = due
        await asyncio.wait(waiting, timeout=max(0.0, end - time.monotonic()))
    for task, came in waiting.items():
        if not task.done():
            task.cancel()
            tally.latencies_ms.append((end - came) * 1000)
        elif error := task.exception():
            tally.statuses[type(error).__name__] += 1
    await asyncio.gather(*waiting, return_exceptions=True)
    for connection in idle:
        connection.transport.abort()
    return tally


def run_outage(address: Address, path: str, at: float) -> None:
    """Ask once, at a moment, for a request that blocks the loop."""

    async def ask() -> None:
        await asyncio.sleep(at - time.monotonic())
        with suppress(OSError):
            await ask_once(address, path)

    uvloop.run(ask())


async def _end(tasks: list[asyncio.Task[None]], end: float) -> None:
    done, pending = await asyncio.wait(tasks, timeout=end - time.monotonic())
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()  # a user that ended by itself ended by a mistake of ours


async def _user(address: Address, load: Load, tally: Tally, begin: float, connection: Connection | None) -> None:
    request = request_of(load, address.host)
    try:
        while True:
            started = time.monotonic()
            try:
                connection = connection or await connect(address)
                status, worker, last = await connection.ask(request)
            except OSError as error:
                connection = None
                tally.statuses[type(error).__name__] += 1
                await asyncio.sleep(AFTER_503_S)
                continue
            if (now := time.monotonic()) >= begin:
                tally.statuses[str(status)] += 1
                tally.by_worker[worker] += 1
                if status < 400:
                    tally.latencies_ms.append((now - started) * 1000)
            if last or load.fresh:
                connection.transport.abort()
                connection = None
            if status == 503:
                await asyncio.sleep(AFTER_503_S)
    finally:
        if connection is not None:
            connection.transport.abort()


async def _hold(address: Address, load: Load, tally: Tally, begin: float, end: float) -> Tally:
    request = get(load.path, address.host)
    held: list[Connection] = []
    async with metered(tally, begin, end):
        while len(held) < load.users and time.monotonic() < begin:
            with suppress(OSError):
                fresh = await asyncio.gather(*(connect(address) for _ in range(min(50, load.users - len(held)))))
                await asyncio.gather(*(connection.ask(request) for connection in fresh))
                held += fresh
        tally.connected = len(held)
        await asyncio.sleep(end - time.monotonic())
    with suppress(TimeoutError):
        async with asyncio.timeout(LATE_S):
            for connection in held:
                started = time.monotonic()
                with suppress(OSError):
                    tally.statuses[str((await connection.ask(request)).status)] += 1
                    tally.latencies_ms.append((time.monotonic() - started) * 1000)
    for connection in held:
        connection.transport.abort()
    return tally
