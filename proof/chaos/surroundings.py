"""Faults of what the service is given: a password, a schema, the folder of its state, and Redis for as long as it lasts."""

import asyncio
import shutil
from urllib.parse import urlsplit

import asyncpg
import psutil

from local.process import LocalError
from proof.chaos.disk import read_only
from proof.chaos.stage import Stage

AWAY_S = 3.0
OUTAGE_S = 30.0
FILES_A_WORKER = 4
"""A worker has at most so many files of clicks: one it counts into, one it sends, a spare, and one that is on its way out."""
DESCRIPTORS_MORE = 20


async def rotate_password(stage: Stage) -> None:
    """Postgres has another password than the service, and ends its sessions, until somebody gives both the same."""
    password = urlsplit(stage.postgres.url).password
    keeper = await asyncpg.connect(stage.postgres.complete_url)
    try:
        await keeper.execute("ALTER ROLE brigade PASSWORD 'rotated'")
        await keeper.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'service.%'"
        )
        await asyncio.sleep(AWAY_S)
    finally:
        await keeper.execute(f"ALTER ROLE brigade PASSWORD '{password}'")
        await keeper.close()


async def add_a_column(stage: Stage) -> None:
    """The next version has migrated, and this one still serves."""
    await stage.sql("ALTER TABLE links ADD COLUMN of_the_next_version text")
    await asyncio.sleep(AWAY_S)
    await stage.sql("ALTER TABLE links DROP COLUMN of_the_next_version")


async def lose_redis_for_long(stage: Stage) -> None:
    """A worker must not open or make something for each attempt, or the outage never ends."""
    before = _descriptors(stage)
    stage.to_redis.refuse()
    try:
        await asyncio.sleep(OUTAGE_S)
        files = sum(1 for path in (stage.home / "state" / "clicks").rglob("*") if path.is_file())
        if files > FILES_A_WORKER * len(stage.workers()):
            raise LocalError(f"{files} files of clicks were made while Redis was away.")
        if (more := _descriptors(stage) - before) > DESCRIPTORS_MORE:
            raise LocalError(f"{more} descriptors were opened while Redis was away.")
    finally:
        await stage.to_redis.heal()


async def fill_disk_of_state(stage: Stage) -> None:
    assert stage.disk
    await asyncio.to_thread(stage.disk.fill)
    await asyncio.sleep(AWAY_S)
    stage.disk.free()


async def make_state_read_only(stage: Stage) -> None:
    """Workers that start meanwhile count in memory, and on the disk again later."""
    with read_only(stage.home / "state"):
        await stage.reload()
        await asyncio.sleep(AWAY_S)


async def delete_state(stage: Stage) -> None:
    await asyncio.to_thread(shutil.rmtree, stage.home / "state" / "clicks")
    await asyncio.sleep(AWAY_S)


def _descriptors(stage: Stage) -> int:
    return sum(psutil.Process(worker.pid).num_fds() for worker in stage.workers())
