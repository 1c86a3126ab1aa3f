"""Connections: how evenly workers share them, and what each costs when there are very many."""

import asyncio
import resource
from collections.abc import Iterable

import psutil

from proof.bench.client import Connection, get
from proof.bench.deployment import Backends, Deployment, deployment
from proof.bench.routes import Progress

ARRIVALS_S = {"at once": 0.0, "1 a ms": 0.001, "1 in 20 ms": 0.02}
KEPT = 100
MANY = 10_000
AT_A_TIME = 100
"""Clients that connect at the same moment. If more did, the listening queue would overflow and clients retry after 1 s."""
SERVERS: dict[str, dict[str, str]] = {"ours": {}, "ours, REUSE_PORT": {"REUSE_PORT": "true"}, "textbook": {}}

Spread = dict[str, list[int]]
"""Connections of each worker, the most first, by arrival."""


def spread(backends: Backends, *, workers: Iterable[int], progress: Progress) -> dict[str, dict[int, Spread]]:
    found: dict[str, dict[int, Spread]] = {name: {} for name in SERVERS}
    for count in workers:
        for name, variables in SERVERS.items():
            progress(f"connections over {count} workers, {name}")
            with deployment(name.partition(",")[0], backends, workers=count, **variables) as server:
                found[name][count] = {arrival: asyncio.run(keep(server, s)) for arrival, s in ARRIVALS_S.items()}
    return found


async def keep(server: Deployment, every_s: float) -> list[int]:
    """Return how many connections each worker keeps, the most first.

    Each connection asks once, so that it is accepted and not only queued, and connects again when it is told to.
    """

    async def ask(number: int) -> Connection:
        await asyncio.sleep(number * every_s)
        while True:
            connection = await Connection.open(server.url)
            answer = await connection.send(get("/r/nothing"))
            if answer.headers.get("connection") != "close":
                return connection
            connection.close()

    kept = await asyncio.gather(*[ask(number) for number in range(KEPT)])
    counts = sorted((_open_connections(worker, server) for worker in server.workers()), reverse=True)
    for connection in kept:
        connection.close()
    await asyncio.sleep(0.2)
    return counts


def _open_connections(worker: psutil.Process, server: Deployment) -> int:
    port = int(server.url.rpartition(":")[2])
    return sum(each.laddr.port == port and each.status == "ESTABLISHED" for each in worker.net_connections("tcp"))


def evenness(counts: list[int]) -> float:
    """The most of any worker, to the mean of all."""
    return max(counts) * len(counts) / sum(counts)


async def _hold(url: str, worker: psutil.Process) -> tuple[int, float]:
    """How many of `MANY` were answered at their first and at their second request, and kB for each while they idle."""
    before = worker.memory_full_info().pss
    held: list[Connection] = []
    for _ in range(MANY // AT_A_TIME):
        held += await asyncio.gather(*[Connection.open(url) for _ in range(AT_A_TIME)])
    answered = await _ask_all(held)
    each_kb = (worker.memory_full_info().pss - before) / MANY / 1000
    answered = min(answered, await _ask_all(held))
    for connection in held:
        connection.close()
    return answered, each_kb


async def _ask_all(held: list[Connection]) -> int:
    answered = 0
    for begin in range(0, len(held), AT_A_TIME):
        answers = await asyncio.gather(
            *[connection.send(get("/livez")) for connection in held[begin : begin + AT_A_TIME]], return_exceptions=True
        )
        answered += sum(not isinstance(answer, BaseException) and answer.status == 200 for answer in answers)
    return answered


def hold_many(backends: Backends, progress: Progress) -> tuple[int, float]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MANY + 1000)), hard))
    progress(f"{MANY} connections")
    with deployment("ours", backends) as server:
        asyncio.run(_ask_once(server.url))
        return asyncio.run(_hold(server.url, server.workers()[0]))


async def _ask_once(url: str) -> None:
    """Send one request first, because what it allocates does not belong to the connections."""
    connection = await Connection.open(url)
    await connection.send(get("/livez"))
    connection.close()
