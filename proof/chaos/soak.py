"""Traffic for many minutes with rude clients in it, and a line through what each worker holds, which should be flat."""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from proof.chaos import hostile
from proof.chaos.stage import Stage
from proof.chaos.traffic import Tally, Traffic
from proof.prove.client import ask

SAMPLE_S = 2.0
RUDE_S = 5.0
WARM_SHARE = 1 / 3
"""Share of the samples left out at the start, when caches fill and pools open. A replaced worker starts again."""

# What a quantity may have gained by the end, as a share of itself or as a number, and still be called flat.
TOLERATED = {
    "memory MiB": (0.04, 2.0),
    "files": (0.05, 4.0),
    "connections to Postgres": (0.05, 2.0),
    "tasks": (0.1, 4.0),
}
TOLERATED["threads"] = (0.0, 1.0)


@dataclass(frozen=True)
class Line:
    """A straight line through the samples of one quantity, of all workers together."""

    quantity: str
    first: float
    last: float
    per_hour: float
    flat: bool


async def soak(stage: Stage, traffic: Traffic, minutes: float) -> tuple[Tally, list[Line], list[dict[str, float]]]:
    """Return the answers to visitors, the lines, and the samples behind them."""
    tally, until = traffic.begin(), time.monotonic() + 60 * minutes
    traffic.asking.set()
    rude = asyncio.create_task(_be_rude(stage))
    samples: list[dict[str, float]] = []
    before, replacements = stage.workers(), 0
    while time.monotonic() < until:
        await asyncio.sleep(SAMPLE_S)
        with suppress(psutil.NoSuchProcess, OSError):  # of a worker that was killed meanwhile
            sample = await asyncio.to_thread(_sample, stage)
            if (now := stage.workers()) != before:
                before, replacements = now, replacements + 1
            samples.append(sample | {"at": time.monotonic(), "replacements": replacements})
    rude.cancel()
    await asyncio.gather(rude, return_exceptions=True)
    traffic.asking.clear()
    return tally, lines(settled(samples)), samples


def settled(samples: Sequence[dict[str, float]]) -> Sequence[dict[str, float]]:
    """Return the samples of the workers that lived to the end, after they were warm."""
    last = [sample for sample in samples if sample["replacements"] == samples[-1]["replacements"]]
    return last[int(len(last) * WARM_SHARE) :]


def lines(samples: Sequence[dict[str, float]]) -> list[Line]:
    times = [sample["at"] for sample in samples]
    found = []
    for quantity, (share, number) in TOLERATED.items():
        slope, start = statistics.linear_regression(times, [sample[quantity] for sample in samples])
        first, last = start + slope * times[0], start + slope * times[-1]
        flat = last - first <= max(share * first, number)
        found.append(Line(quantity, first, last, 3600 * slope, flat))
    return found


def _sample(stage: Stage) -> dict[str, float]:
    workers = stage.workers()
    metrics = ask(stage.url, "/metrics")[1].decode().splitlines()
    return {
        "memory MiB": sum(worker.memory_full_info().uss for worker in workers) / 2**20,
        "files": sum(worker.num_fds() for worker in workers),
        "threads": sum(worker.num_threads() for worker in workers),
        "connections to Postgres": sum(
            tuple(link.raddr)[1:] == (stage.to_postgres.port,) and link.status == psutil.CONN_ESTABLISHED
            for worker in workers
            for link in worker.net_connections("tcp")
        ),
        "tasks": sum(float(line.split()[-1]) for line in metrics if line.startswith("event_loop_tasks{")),
    }


async def _be_rude(stage: Stage) -> None:
    """Every few seconds: clients that leave before the answer, and some that mean no good."""
    while True:
        await asyncio.gather(*[hostile.ask_and_leave(stage.port, "/links?limit=20") for _ in range(20)])
        count, attack = random.choice(list(hostile.ATTACKS.values()))  # noqa: S311
        with suppress(OSError):
            await asyncio.gather(*[attack(stage.port) for _ in range(min(count, 3))])
        await asyncio.sleep(RUDE_S)
