import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from brigade.errors import CacheUnavailable, ConnectionLost, DatabaseUnavailable
from brigade.resources import Resources
from brigade.stores.database import acquire, read
from local.servers import Postgres, Valkey
from tests.brigade.cli.conftest import query
from tests.running import stopped

pytestmark = pytest.mark.anyio


async def test_a_postgres_that_hangs_is_unavailable_and_then_back(resources: Resources, postgres: Postgres) -> None:
    async with acquire(resources.pg) as connection:
        await connection.execute("SELECT 1")
    with stopped(postgres.pid), pytest.raises(DatabaseUnavailable):
        async with acquire(resources.pg) as connection:
            await connection.execute("SELECT 1")
    async with acquire(resources.pg) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_postgres_that_falls_silent_is_not_waited_for_until_the_statement_would_time_out(
    resources: Resources, postgres: Postgres
) -> None:
    async with acquire(resources.pg) as connection:
        await connection.execute("SELECT 1")
    began_s = time.monotonic()
    with stopped(postgres.pid), pytest.raises(DatabaseUnavailable, match="in time"):
        async with acquire(resources.pg, within_s=0.2) as connection:
            await connection.execute("SELECT 1")
    assert time.monotonic() - began_s < resources.plan.statement_timeout_s
    assert resources.pg.get_size() == 0, "the connection that hangs is nobody's any more"


async def test_who_would_wait_too_long_for_a_connection_is_refused_at_once(resources: Resources) -> None:
    """By how long connections are held lately, so that nobody waits only to be refused later."""

    async def ask() -> str:
        try:
            async with acquire(resources.pg) as connection:
                await connection.execute("SELECT pg_sleep(0.04)")
        except DatabaseUnavailable as refused:
            return refused.detail
        return "answered"

    for _ in range(30):
        await ask()
    ends = await asyncio.gather(*[ask() for _ in range(200)])
    answered = ends.count("answered")
    assert answered >= 2 * resources.plan.db_pool
    assert [end for end in ends if "wait for a connection already" in end] == ends[answered:]


async def test_connections_to_a_server_that_has_become_a_replica_are_given_up(resources: Resources) -> None:
    kept = partial(acquire, resources.pg, leaves_session_clean=True)
    async with kept() as first, kept() as second:
        for connection in (first, second):
            await connection.execute("SET default_transaction_read_only = on")  # as a fail-over leaves them
    with pytest.raises(DatabaseUnavailable):
        async with acquire(resources.pg) as connection:
            await connection.execute("CREATE TABLE written ()")
    async with acquire(resources.pg) as first, acquire(resources.pg) as second:
        for connection in (first, second):
            assert await connection.fetchval("SHOW default_transaction_read_only") == "off"


CLOSE_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'service.worker.%'"


@pytest.mark.parametrize("how", ["restart", "terminate"])
async def test_reads_are_asked_again_when_their_connections_were_closed_and_writes_are_not(
    resources: Resources, postgres: Postgres, database_url: str, how: str
) -> None:
    async def close_idle() -> None:
        """All there may be, while the event loop stands still and hears of nothing."""
        async with acquire(resources.pg), acquire(resources.pg):
            pass
        if how == "restart":
            postgres.restart()
        else:
            with ThreadPoolExecutor(1) as apart:
                apart.submit(query, database_url, CLOSE_ALL).result()

    await close_idle()
    reads = [read(resources.pg, lambda pg: pg.fetchval("SELECT 1"), within_s=0.9) for _ in range(20)]
    assert await asyncio.gather(*reads) == [1] * 20
    await close_idle()
    with pytest.raises(ConnectionLost):
        async with acquire(resources.pg, within_s=0.9) as connection:
            await connection.execute("CREATE TABLE written ()")


async def test_a_pool_without_room_is_unavailable_and_says_so(resources: Resources) -> None:
    assert resources.plan.db_pool == 2
    async with acquire(resources.pg), acquire(resources.pg):
        with pytest.raises(DatabaseUnavailable, match="came free"):
            async with acquire(resources.pg):
                raise AssertionError


async def test_a_thousand_cancelled_callers_leave_no_connection_behind(resources: Resources) -> None:
    async def ask() -> None:
        async with acquire(resources.pg) as connection:
            await connection.execute("SELECT pg_sleep(0.05)")

    for _ in range(20):
        callers = [asyncio.create_task(ask()) for _ in range(50)]
        await asyncio.sleep(0.01)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    async with acquire(resources.pg) as first, acquire(resources.pg) as second:
        assert [await first.fetchval("SELECT 1"), await second.fetchval("SELECT 1")] == [1, 1]


async def test_a_redis_that_hangs_is_left_alone_after_three_tries(resources: Resources, valkey: Valkey) -> None:
    async def ask() -> None:
        await resources.cache.run(lambda redis: redis.ping())

    await ask()
    with stopped(valkey.pid):
        for _ in range(3):
            with pytest.raises(CacheUnavailable, match="does not answer"):
                await ask()
        with pytest.raises(CacheUnavailable, match="lately"):
            await ask()
    await asyncio.sleep(resources.cache.breaker.retry_every_s)
    await ask()
