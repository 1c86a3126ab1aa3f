"""Faults of another host that the service calls. Other routes and other hosts do not notice, and it is called again after."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from local.process import LocalError
from proof.bench.client import Connection, Load, Result, get, in_turn
from proof.chaos.caller import TIMEOUT_S, caller
from proof.chaos.proxy import Proxy
from proof.chaos.stage import Stage

SECONDS = 3.0
"""Seconds of calm, and then of the fault."""
RATE = 50.0
"""Requests a second of each of the two routes that must not notice."""
CALLERS, PACE_S = 10, 0.1
"""Clients that ask for the host with the fault, and the seconds between two of one client's requests."""
SLOW_S = 0.4 * TIMEOUT_S
P99_TIMES, P99_FLOOR_MS = 5.0, 20.0
"""How many times the p99 of the calm the others may wait; a calm p99 below the floor counts as the floor."""
SERVED = 0.9
CLOSED_WITHIN_S = 5.0
HOST_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Break = Callable[[Proxy], None]


@dataclass(frozen=True)
class Seen:
    """Results that clients had for a while: of other routes, of another host, and of the host with the fault."""

    others: dict[str, Result]
    statuses: Counter[int]


def outgoing_host(break_: Break, *, opens: bool) -> Callable[[Stage], Awaitable[None]]:
    """Return a strike. Where the fault `opens` the breaker, it must also close again."""

    async def strike(stage: Stage) -> None:
        async with _host() as port, caller(stage.home / "caller") as url:
            bad = Proxy(port)
            await bad.open()
            try:
                calm = await _watch(url, port, bad.port)
                break_(bad)
                broken = await _watch(url, port, bad.port)
                await bad.heal()
                closed_s = await _until_called_again(url, bad.port)
            finally:
                await bad.close()
        for name, after in broken.others.items():
            print(f"{name} p99 {after.p99_ms:.0f} ms, {calm.others[name].p99_ms:.0f} ms before;", end=" ")
        print(f"answers {dict(broken.statuses)}; called again after {closed_s:.1f} s,", end=" ")
        judge(calm, broken, opens=opens)

    return strike


def hang(host: Proxy) -> None:
    host.silence()


def refuse(host: Proxy) -> None:
    host.refuse()


def answer_slowly(host: Proxy) -> None:
    host.delay_s = SLOW_S


def judge(calm: Seen, broken: Seen, *, opens: bool) -> None:
    """Compare the two.

    Raises:
        LocalError: A promise is broken.
    """
    for name, before in calm.others.items():
        after = broken.others[name]
        if after.errors or after.rps < SERVED * before.rps:
            raise LocalError(f"{name} was served {after.rps:.0f}/s of {before.rps:.0f}/s, with {after.errors} errors.")
        if after.p99_ms > P99_TIMES * max(before.p99_ms, P99_FLOOR_MS):
            raise LocalError(f"{name} had a p99 of {after.p99_ms:.0f} ms, and of {before.p99_ms:.0f} ms before.")
    if set(calm.statuses) != {200}:
        raise LocalError(f"A host that is well was answered for with {dict(calm.statuses)}.")
    if opens and not broken.statuses[503]:
        raise LocalError(f"The breaker did not open: {dict(broken.statuses)}.")
    if not opens and set(broken.statuses) != {200}:
        raise LocalError(f"A host that is slow was answered for with {dict(broken.statuses)}.")


async def _watch(url: str, good: int, bad: int) -> Seen:
    statuses: Counter[int] = Counter()
    paths = {"another route": "/livez", "another host": f"/ask/{good}"}
    loads = [Load(in_turn([path]), 1, SECONDS, RATE) for path in paths.values()]
    asking = [asyncio.create_task(_ask(url, f"/ask/{bad}", statuses)) for _ in range(CALLERS)]
    results = await asyncio.gather(*(load.run(url) for load in loads))
    for task in asking:
        task.cancel()
    await asyncio.wait(asking)
    return Seen(dict(zip(paths, results, strict=True)), statuses)


async def _ask(url: str, path: str, statuses: Counter[int]) -> None:
    connection = await Connection.open(url)
    try:
        while True:
            statuses[(await connection.send(get(path))).status] += 1
            await asyncio.sleep(PACE_S)
    finally:
        connection.close()


async def _until_called_again(url: str, port: int) -> float:
    """Return the seconds until the host is called, and not refused by an open breaker."""
    began, connection = time.monotonic(), await Connection.open(url)
    while (await connection.send(get(f"/ask/{port}"))).status != 200:
        if time.monotonic() > began + CLOSED_WITHIN_S:
            raise LocalError(f"The host was well, and not called again within {CLOSED_WITHIN_S:g} s.")
        await asyncio.sleep(0.05)
    connection.close()
    return time.monotonic() - began


@asynccontextmanager
async def _host() -> AsyncIterator[int]:
    """A host that answers at once, on the port that it yields."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(HOST_ANSWER)
        except (OSError, EOFError):
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
