"""Compare HTTP clients side by side: CPU a call and p99 at 64 concurrent calls, each client in a process of its own.

`python -m proof.bench.outgoing` measures each client that is installed; docs/decisions/0030 has the figures.
"""

import argparse
import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from statistics import median, quantiles
from typing import Any

from proof.arguments import one_or_more

CLIENTS = ("httpx", "httpx2", "aiohttp", "niquests")
CONCURRENT, CALLS, ROUNDS = 64, 1280, 3
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 200\r\n\r\n" + b" " * 198 + b"{}"


class Answers(asyncio.Protocol):
    """A server that costs as little as can be, so that the client is what is measured."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER * data.count(b"\r\n\r\n"))


async def serve(port: Any) -> None:
    server = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", 0)
    port.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def _asked(name: str, library: Any, url: str, drive: Callable[[Callable[[], Awaitable[Any]]], Any]) -> Any:
    if name == "aiohttp":
        async with library.ClientSession(connector=library.TCPConnector(limit=CONCURRENT)) as session:

            async def call() -> bytes:
                async with session.get(url) as answer:
                    return await answer.read()  # type: ignore[no-any-return]

            return await drive(call)
    if name == "niquests":
        async with library.AsyncSession(pool_maxsize=CONCURRENT) as session:
            return await drive(lambda: session.get(url))
    async with library.AsyncClient(limits=library.Limits(max_connections=CONCURRENT)) as client:
        return await drive(lambda: client.get(url))


async def _measure(calls: int, call: Callable[[], Awaitable[Any]]) -> tuple[float, float]:
    """CPU in µs a call, and p99 in ms."""
    took_s: list[float] = []

    async def ask(times: int) -> None:
        for _ in range(times):
            began_s = time.perf_counter()
            await call()
            took_s.append(time.perf_counter() - began_s)

    await asyncio.gather(*(ask(4) for _ in range(CONCURRENT)))  # opens the connections
    took_s.clear()
    cpu_s = time.process_time()
    await asyncio.gather(*(ask(calls // CONCURRENT) for _ in range(CONCURRENT)))
    return (time.process_time() - cpu_s) / len(took_s) * 1e6, quantiles(took_s, n=100)[98] * 1e3


def _run(name: str, url: str, calls: int, found: Any) -> None:
    if find_spec("uvloop"):
        import_module("uvloop").install()
    found.send(asyncio.run(_asked(name, import_module(name), url, partial(_measure, calls))))


def _in_process(target: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=target, args=(*args, sender), daemon=True)
    process.start()
    return receiver.recv(), process


def _serve(port: Any) -> None:
    asyncio.run(serve(port))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m proof.bench.outgoing", description=__doc__)
    parser.add_argument("--calls", type=one_or_more, default=CALLS, help=f"calls of a client in a round ({CALLS})")
    parser.add_argument(
        "--rounds", type=one_or_more, default=ROUNDS, help=f"rounds, in each of which all take a turn ({ROUNDS})"
    )
    given = parser.parse_args(arguments)
    port, server = _in_process(_serve)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in CLIENTS if find_spec(name)}
    for _ in range(given.rounds):
        for name, figures in found.items():
            figures.append(_in_process(_run, name, f"http://127.0.0.1:{port}/", given.calls)[0])
    server.terminate()
    shown = f"median of {given.rounds} rounds" if given.rounds > 1 else "one round"
    print(f"{'client':10}{'CPU a call':>12}{'p99':>10}   ({CONCURRENT} concurrent calls, {shown})")
    for name, figures in found.items():
        cpu_us, p99_ms = (median(column) for column in zip(*figures, strict=True))
        print(f"{name:10}{cpu_us:9.0f} µs{p99_ms:7.1f} ms")


if __name__ == "__main__":
    main()
