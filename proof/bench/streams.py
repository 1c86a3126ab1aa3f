"""Measures the cost of a WebSocket and an event stream: memory while one worker holds them, and CPU for each message.

`python -m proof.bench.streams`; docs/streams.md has the figures. The CPU a message costs is the worker's own, so it says
more than the messages a second on a machine that other programs use.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import uvloop

from proof.arguments import one_or_more, some_seconds
from proof.prove.connection import Address
from proof.prove.small_project import write_project
from proof.prove.stage import OwnServices, Staging, own_services

HELD, SECONDS, AT_ONCE = 1000, 3.0, 20
FEATURE = """
import asyncio

from fastapi import APIRouter, WebSocket
from fastapi.sse import ServerSentEvent

from brigade import EventStream

router = APIRouter()


@router.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


@router.get("/events")
async def events(every_s: float) -> EventStream:
    async def tick():
        while True:
            yield ServerSentEvent(data="soup")
            await asyncio.sleep(every_s)

    return EventStream(tick())
"""
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
SAID = b"\x81\x84\0\0\0\0soup"
"""A masked text frame. The server's own is as long without the mask."""
HEARD = len(SAID) - 4

Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Cost:
    held_kib: float
    messages_a_second: float
    cpu_us: float


async def measure(services: OwnServices, held: int, seconds: float) -> dict[str, Cost]:
    address, (worker,) = Address.of(services.url(1)), services.state(1)["workers"]
    process = psutil.Process(worker["pid"])
    kinds: dict[str, tuple[str, str, str, Callable[[Opened], Awaitable[None]]]] = {
        "a WebSocket": ("/echo", "/echo", UPGRADE, _talk),
        "an event stream": ("/events?every_s=600", "/events?every_s=0", "", _listen),
    }
    found = {}
    for name, (silent, busy, fields, exchange) in kinds.items():
        before = process.memory_info().rss
        kept = [await _open(address, silent, fields) for _ in range(held)]
        held_kib = (process.memory_info().rss - before) / held / 1024
        _close(kept)
        kept = [await _open(address, busy, fields) for _ in range(AT_ONCE)]
        count, cpu_s = await _exchange(kept, exchange, process, seconds)
        _close(kept)
        found[name] = Cost(held_kib, count / seconds, 1e6 * cpu_s / max(1, count))
    return found


async def _exchange(
    kept: list[Opened], exchange: Callable[[Opened], Awaitable[None]], process: psutil.Process, seconds: float
) -> tuple[int, float]:
    """Return the messages of all connections, and the seconds of the worker's CPU."""
    count, end = 0, time.monotonic() + seconds

    async def repeat(one: Opened) -> None:
        nonlocal count
        while time.monotonic() < end:
            await exchange(one)
            count += 1

    before = sum(process.cpu_times()[:2])
    await asyncio.gather(*map(repeat, kept))
    return count, sum(process.cpu_times()[:2]) - before


async def _open(address: Address, path: str, fields: str) -> Opened:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if head.split(b" ", 2)[1] not in {b"101", b"200"}:
        raise ConnectionError(head.decode())
    return reader, writer


def _close(kept: list[Opened]) -> None:
    for _, writer in kept:
        writer.transport.abort()


async def _talk(one: Opened) -> None:
    one[1].write(SAID)
    await one[0].readexactly(HEARD)


async def _listen(one: Opened) -> None:
    await one[0].readuntil(b"\n\n")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m proof.bench.streams", description=__doc__)
    parser.add_argument("--held", type=one_or_more, default=HELD, help=f"streams of a kind to hold ({HELD})")
    parser.add_argument(
        "--seconds", type=some_seconds, default=SECONDS, help=f"of messages on {AT_ONCE} streams ({SECONDS:g})"
    )
    given = parser.parse_args(arguments)
    with TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        staging = Staging(write_project(Path(folder), FEATURE), {"MAX_STREAMS": f"{2 * given.held + AT_ONCE}"})
        services = stack.enter_context(own_services({1}, staging))
        found = uvloop.run(measure(services, given.held, given.seconds))
    print(f"{'one worker':16}{'held':>10}{'messages/s':>12}{'CPU each':>10}")
    for name, cost in found.items():
        print(f"{name:16}{cost.held_kib:6.1f} KiB{cost.messages_a_second:12,.0f}{cost.cpu_us:7.0f} µs")


if __name__ == "__main__":
    main()
