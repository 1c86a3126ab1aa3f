"""The settings that some faults need, from before the first request until everything is counted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from local.servers import Standby
from proof.chaos.disk import move, small_disk
from proof.chaos.stage import Stage

Setting = Callable[[Stage], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def as_it_is(_: Stage) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def with_a_standby(stage: Stage) -> AsyncIterator[None]:
    """Start a standby for which each commit waits. It is the stage's Postgres in the end."""
    stage.standby = Standby(stage.home / f"standby-of-{stage.postgres.port}", stage.postgres)
    await asyncio.to_thread(stage.standby.start)
    await stage.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
    await stage.sql("SELECT pg_reload_conf()")
    yield
    stage.to_postgres.target = stage.postgres.port
    await stage.to_postgres.heal()


@asynccontextmanager
async def with_a_standby_in_the_url(stage: Stage) -> AsyncIterator[None]:
    async with with_a_standby(stage):
        stage.configure(DATABASE_URL=stage.url_of_both())
        await stage.reload()
        yield
    stage.configure()
    await stage.reload()


@asynccontextmanager
async def with_links_on_a_small_disk(stage: Stage) -> AsyncIterator[None]:
    with small_disk(stage.home / "disk", size_mib=16) as stage.disk:
        await stage.sql(f"CREATE TABLESPACE small LOCATION '{stage.disk.folder}'")
        await stage.sql("ALTER TABLE links SET TABLESPACE small")
        await stage.sql("VACUUM FULL links")
        yield
        await stage.sql("ALTER TABLE links SET TABLESPACE pg_default")
        await stage.sql("DROP TABLESPACE small")


@asynccontextmanager
async def with_wal_on_a_small_disk(stage: Stage) -> AsyncIterator[None]:
    wal = stage.postgres.cluster / "pg_wal"
    with small_disk(stage.home / "disk", size_mib=256) as stage.disk:
        beyond = stage.disk.folder / "pg_wal"
        await asyncio.to_thread(stage.postgres.stop)
        await asyncio.to_thread(move, wal, beyond)
        wal.symlink_to(beyond)
        await asyncio.to_thread(stage.postgres.start)
        yield
        await asyncio.to_thread(stage.postgres.stop)
        wal.unlink()
        await asyncio.to_thread(move, beyond, wal)
    await asyncio.to_thread(stage.postgres.start)


@asynccontextmanager
async def with_state_on_a_small_disk(stage: Stage) -> AsyncIterator[None]:
    """No room but for what the workers have there before it is full."""
    with small_disk(stage.home / "disk", size_mib=4) as stage.disk:
        stage.configure(STATE_DIR=str(stage.disk.folder))
        await stage.reload()
        yield
        stage.configure()
        await stage.reload()
