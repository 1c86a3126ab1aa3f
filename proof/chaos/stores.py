"""Faults of Postgres and Redis, and of the way to them."""

import asyncio
from contextlib import suppress

import asyncpg

from proof.chaos.stage import Stage

AWAY_S = 3.0
SILENT_S = 5.0
"""Longer than anybody may wait: who does, waited for the fault to end."""
FULL_S = 10.0
"""Until the room that there still is in the pages of the table is taken."""
LONG_S = 60.0


async def slow_postgres(stage: Stage) -> None:
    stage.to_postgres.delay_s = 0.1  # a new connection takes five such answers
    await asyncio.sleep(AWAY_S)
    await stage.to_postgres.heal()


async def slow_redis(stage: Stage) -> None:
    stage.to_redis.delay_s = 0.1
    await asyncio.sleep(AWAY_S)
    await stage.to_redis.heal()


async def silent_postgres(stage: Stage) -> None:
    stage.to_postgres.silence()
    await asyncio.sleep(SILENT_S)
    await stage.to_postgres.heal()


async def silent_redis(stage: Stage) -> None:
    stage.to_redis.silence()
    await asyncio.sleep(SILENT_S)
    await stage.to_redis.heal()


async def reset_both(stage: Stage) -> None:
    """Ten times: idle connections and busy ones."""
    for _ in range(10):
        stage.to_postgres.reset()
        stage.to_redis.reset()
        await asyncio.sleep(0.3)


async def refuse_both(stage: Stage) -> None:
    stage.to_postgres.refuse()
    stage.to_redis.refuse()
    await asyncio.sleep(AWAY_S)
    await stage.to_postgres.heal()
    await stage.to_redis.heal()


async def lose_postgres(stage: Stage) -> None:
    """Kill Postgres with kill -9, and start it again after a while."""
    await asyncio.to_thread(stage.postgres.kill)
    await asyncio.sleep(LONG_S)
    await asyncio.to_thread(stage.postgres.start)


async def lose_redis(stage: Stage) -> None:
    await asyncio.to_thread(stage.valkey.kill)
    await asyncio.sleep(LONG_S)
    await asyncio.to_thread(stage.valkey.start)
    await stage.keep_everything()


async def promote_standby(stage: Stage) -> None:
    """The primary dies without a word, as a machine without power does, and somebody promotes its standby."""
    assert stage.standby
    lost, stage.postgres = stage.postgres, stage.standby
    stage.to_postgres.silence()
    await asyncio.to_thread(lost.kill)
    await asyncio.sleep(AWAY_S)
    await stage.sql("SELECT pg_promote()")


async def promote_standby_behind_the_address(stage: Stage) -> None:
    """The primary is killed; its name, or address, leads to the standby once that is promoted."""
    assert stage.standby
    lost, stage.postgres = stage.postgres, stage.standby
    await asyncio.to_thread(lost.kill)
    await asyncio.sleep(AWAY_S)
    await stage.sql("SELECT pg_promote()")
    stage.to_postgres.target = stage.postgres.port


async def fill_disk_of_links(stage: Stage) -> None:
    """Fill the disk of tables: Postgres continues, and cannot make a table longer."""
    assert stage.disk
    await asyncio.to_thread(stage.disk.fill)
    await asyncio.sleep(FULL_S)
    stage.disk.free()


async def fill_disk_of_wal(stage: Stage) -> None:
    """Postgres gives up with a PANIC, and cannot start again until there is room."""
    assert stage.disk
    await asyncio.to_thread(stage.disk.fill)
    with suppress(asyncpg.PostgresError, OSError):
        while True:
            await stage.sql("SELECT pg_logical_emit_message(true, '', repeat('x', 1000000))")
    await stage.until(lambda: not stage.postgres.running, "rid of Postgres", within_s=20)
    await asyncio.sleep(AWAY_S)
    stage.disk.free()
    await asyncio.to_thread(stage.postgres.start)


async def make_postgres_read_only(stage: Stage) -> None:
    """Make a server that answers and accepts no writes, as a fail-over does whose connections survive."""
    await stage.sql("ALTER SYSTEM SET default_transaction_read_only = on")
    await stage.sql("SELECT pg_reload_conf()")
    await asyncio.sleep(AWAY_S)
    await stage.sql("ALTER SYSTEM RESET default_transaction_read_only")
    await stage.sql("SELECT pg_reload_conf()")


async def crowd_postgres(stage: Stage) -> None:
    """Every connection of the server is taken by others, and the service's own are ended."""
    await stage.take_connections(AWAY_S)


async def fill_redis(stage: Stage) -> None:
    async with stage.redis() as redis:
        await redis.config_set("maxmemory", 1)
        await asyncio.sleep(AWAY_S)
        await redis.config_set("maxmemory", 0)
