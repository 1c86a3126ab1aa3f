"""Faults in the middle of jobs: of the runner that does them, and of the stores.

Clients order sheets all the while. Each order that was accepted is done at least once, and none is lost, whatever dies.
"""

import asyncio
import json
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

from local.process import LocalError, terminate
from proof.chaos.stage import Stage
from proof.prove.client import ask

RUNNERS, KILLS = 2, 2
CODES = 5
"""QR codes of each sheet."""
AWAY_S = 3.0
ALL_WITHIN_S = 180.0
ORDER_WITHIN_S = 60.0

UNFINISHED = "SELECT count(*) FROM pgqueuer WHERE entrypoint = 'sheets.draw_sheet'"
REPEATED = (
    "SELECT count(*) - count(DISTINCT job_id) FROM pgqueuer_log "
    "WHERE entrypoint = 'sheets.draw_sheet' AND status = 'picked'"
)
"""Attempts at jobs beside the first one of each."""
SIZES = "SELECT count(DISTINCT octet_length(file)) FROM sheets WHERE cardinality(urls) = {codes}"

Runners = list["subprocess.Popen[bytes]"]
Kill = Callable[[Stage, Runners], Awaitable[None]]


def amid_jobs(kill: Kill) -> Callable[[Stage], Awaitable[None]]:
    """Return a strike: half of the sheets are ordered before the runners start, and the others during the kill."""

    async def strike(stage: Stage) -> None:
        before = int(await stage.sql(REPEATED))
        ordered = await asyncio.to_thread(_order, stage.url, stage.jobs // 2)
        runners = [stage.work() for _ in range(RUNNERS)]
        try:
            late = asyncio.create_task(asyncio.to_thread(_order, stage.url, stage.jobs - len(ordered)))
            await _until_done(stage, len(ordered) // 5)
            await kill(stage, runners)
            ordered += await late
            await _until_nothing_is_left(stage)
        finally:
            for runner in runners:
                await asyncio.to_thread(terminate, runner)
        await _judge(stage, ordered, int(await stage.sql(REPEATED)) - before)

    return strike


async def kill_runners(stage: Stage, runners: Runners) -> None:
    """Kill one runner after the other with kill -9, and start another in its place."""
    for number in range(KILLS):
        victim = runners[number % RUNNERS]
        victim.kill()
        await asyncio.to_thread(victim.wait)
        runners[number % RUNNERS] = stage.work()
        await _until_done(stage, stage.jobs // 10)


async def kill_redis(stage: Stage, _: Runners) -> None:
    await asyncio.to_thread(stage.valkey.kill)
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(stage.valkey.start)
    await stage.keep_everything()


async def kill_postgres(stage: Stage, _: Runners) -> None:
    await asyncio.to_thread(stage.postgres.kill)
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(stage.postgres.start)


def _order(url: str, count: int) -> list[int]:
    """Order sheets one after the other, and return the ids of those that were accepted. A refused one is ordered again."""
    accepted: list[int] = []
    body = json.dumps({"urls": [f"https://example.com/{number}" for number in range(CODES)]}).encode()
    deadline = time.monotonic() + ORDER_WITHIN_S
    while len(accepted) < count:
        try:
            status, said = ask(url, "/sheets", body=body)
        except OSError:
            status, said = 503, b"nobody answered"
        if status == 202:
            accepted.append(json.loads(said)["id"])
        elif status != 503 or time.monotonic() > deadline:
            raise LocalError(f"A sheet was not accepted: {status} {said.decode(errors='replace')}")
        else:
            time.sleep(0.1)
    return accepted


async def _until_done(stage: Stage, count: int) -> None:
    """Wait until that many more sheets have been drawn, or nothing is left to draw."""
    target = await _drawn(stage) + count

    async def are_done() -> bool:
        return await _drawn(stage) >= target or not await stage.sql(UNFINISHED)

    await _until(are_done, f"{count} more jobs were not done")


async def _until_nothing_is_left(stage: Stage) -> None:
    async def are_done() -> bool:
        return not await stage.sql(UNFINISHED)

    await _until(are_done, "Not all jobs were done")


async def _until(happened: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    """Poll, because Postgres sets no event, and go on while it is away."""
    deadline = time.monotonic() + ALL_WITHIN_S
    while time.monotonic() < deadline:
        with suppress(asyncpg.PostgresError, OSError):
            if await happened():
                return
        await asyncio.sleep(0.1)
    raise LocalError(f"{otherwise} within {ALL_WITHIN_S:g} s.")


async def _drawn(stage: Stage) -> int:
    return int(await stage.sql("SELECT count(*) FROM sheets WHERE file IS NOT NULL"))


async def _judge(stage: Stage, ordered: list[int], repeated: int) -> None:
    """Every accepted order is drawn, no sheet lacks its job, and a sheet that was drawn twice is like the others."""
    ids = ",".join(map(str, ordered))
    drawn = await stage.sql(f"SELECT count(*) FROM sheets WHERE file IS NOT NULL AND id IN ({ids})")  # noqa: S608 - of numbers
    alone = await stage.sql("SELECT count(*) FROM sheets WHERE file IS NULL")
    sizes = await stage.sql(SIZES.format(codes=CODES))
    print(f"{len(ordered):,} jobs, {drawn:,} done, {repeated:,} started again,", end=" ")
    if drawn != len(ordered) or alone:
        raise LocalError(f"Of {len(ordered)} sheets, {drawn} were drawn; {alone} sheets have no file and no job.")
    if sizes != 1:
        raise LocalError(f"Sheets of the same codes have files of {sizes} sizes.")
