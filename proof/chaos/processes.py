"""Faults of the service's own processes: reloads, signals, no memory, an event loop that stands still."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

from local.process import LocalError
from proof.chaos.held import Held
from proof.chaos.memory import no_room
from proof.chaos.stage import Stage
from proof.prove.client import ask

STREAMS, RELOADS = 1000, 3
"""WebSockets, and as many event streams, that are open in as many reloads."""
LARGEST_SHARE = 0.2
"""The largest part of their clients that may come back in one second, of all reloads."""


async def reload_thrice(stage: Stage) -> None:
    for _ in range(3):
        await stage.reload()


async def reload_under_streams(stage: Stage) -> None:
    """Reload three times while a thousand WebSockets and a thousand event streams are open."""
    before_mb = _memory_mb(stage)
    async with Held(stage.url, stage.codes, STREAMS) as held:
        each_kb = 1024 * (_memory_mb(stage) - before_mb) / (2 * STREAMS)
        print(f"{each_kb:.0f} KiB a stream,", end=" ")
        held.back.clear()
        for _ in range(RELOADS):
            await stage.reload()
            if not await held.all_open(10):
                raise LocalError(f"Of {2 * STREAMS} streams, {held.open} were open 10 s after a reload.")
        print(f"told {held.told}, cut {held.cut}, back in one second at most {held.largest_share:.0%}", end=" ")
        if held.cut or held.told < 2 * STREAMS * RELOADS:
            raise LocalError(f"{held.cut} streams were cut without a word, and {held.told} were told.")
        if held.largest_share > LARGEST_SHARE:
            raise LocalError(f"{held.largest_share:.0%} of the clients came back in one second.")


def _memory_mb(stage: Stage) -> float:
    return float(sum(worker["rss_mb"] for worker in stage.state()["workers"]))


async def reload_what_cannot_start(stage: Stage) -> None:
    """A setting that is wrong, and then one that only the start of the application finds."""
    before = {worker.pid for worker in stage.workers()}
    for number, broken in enumerate([{"KEEPALIVE_S": "soon"}, {"DATABASE_URL": ""}], 1):
        refused = stage.log().count("Not reloaded") + 1
        stage.configure(**broken)
        stage.send(signal.SIGHUP)
        await stage.until(lambda wanted=refused: stage.log().count("Not reloaded") >= wanted, f"refused ({number})")  # type: ignore[misc]
    stage.configure()
    await stage.until(lambda: {worker.pid for worker in stage.workers()} == before, "left alone")


async def stop_and_start(stage: Stage) -> None:
    stage.send(signal.SIGTERM)
    if status := await stage.stop():
        raise LocalError(f"The service was told to stop, and ended with {status}.")
    await stage.start()


async def kill_everything(stage: Stage) -> None:
    await stage.kill()
    await stage.start()


def signal_worker(number: signal.Signals) -> Callable[[Stage], Awaitable[None]]:
    async def strike(stage: Stage) -> None:
        random.choice(stage.workers()).send_signal(number)  # noqa: S311

    return strike


async def run_out_of_memory(stage: Stage) -> None:
    """The kernel's own kill, by a control group with no room in it."""
    worker = random.choice(stage.workers())  # noqa: S311
    with no_room(worker.pid):
        await stage.until(lambda: not worker.is_running(), "rid of it", within_s=10)


async def block_a_loop(stage: Stage) -> None:
    """Block an event loop for longer than `WORKER_TIMEOUT_S`."""
    before = stage.log().count("WORKER TIMEOUT")
    with suppress(OSError):
        await asyncio.to_thread(ask, stage.url, "/lab/sleep/blocking?ms=5000")
    await stage.until(lambda: stage.log().count("WORKER TIMEOUT") > before, "rid of the blocked worker", within_s=10)
    if "in sleep_blocking" not in stage.log():
        raise LocalError("The log does not show where the blocked worker stood.")
