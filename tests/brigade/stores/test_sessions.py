"""What a handler does to its session does not reach the next request."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from brigade.errors import ConnectionLost, DatabaseUnavailable
from brigade.resources import Resources, open_resources
from brigade.settings import Settings
from brigade.sizing import make_plan, read_limits
from brigade.stores.database import Connection, Pool, acquire, read
from brigade.telemetry.metrics import WorkerStats
from tests.brigade.stores.conftest import StartPooler
from tests.brigade.stores.test_pooler import through

pytestmark = pytest.mark.anyio

LEFT_BEHIND = {
    "role": ("SET ROLE pg_monitor", "SELECT current_user = session_user"),
    "session authorization": ("SET SESSION AUTHORIZATION pg_monitor", "SELECT session_user = 'brigade'"),
    "temporary table": ("CREATE TEMP TABLE links (id int)", "SELECT to_regclass('pg_temp.links') IS NULL"),
    "listen": ("LISTEN news", "SELECT count(*) = 0 FROM pg_listening_channels()"),
    "advisory lock": ("SELECT pg_advisory_lock(7)", "SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory'"),
    "cursor": ("DECLARE held CURSOR WITH HOLD FOR SELECT 1", "SELECT count(*) = 0 FROM pg_cursors WHERE name = 'held'"),
    "transaction": ("BEGIN; CREATE TABLE leftover ()", "SELECT to_regclass('leftover') IS NULL"),
    "failed transaction": ("BEGIN; SAVEPOINT one", "SELECT 1 = 1"),
}
SETTINGS = {
    "search path": ("SET search_path = pg_catalog", "SELECT current_setting('search_path') LIKE '%public%'"),
    "statement timeout": ("SET statement_timeout = 5432", "SELECT current_setting('statement_timeout') <> '5432ms'"),
    "own setting": ("SET app.tenant = 'acme'", "SELECT coalesce(current_setting('app.tenant', true), '') = ''"),
}


async def assert_is_reset(resources: Resources, change: str, is_reset: str) -> None:
    """Over one and the same session of the server."""
    async with acquire(resources.pg) as connection:
        session = await connection.fetchval("SELECT pg_backend_pid()")
        await connection.execute(change)
    async with acquire(resources.pg) as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") == session
        assert await connection.fetchval(is_reset)


@pytest.mark.parametrize("what", [*LEFT_BEHIND, *SETTINGS])
async def test_session_is_reset_when_it_is_given_back(resources: Resources, what: str) -> None:
    await assert_is_reset(resources, *(LEFT_BEHIND | SETTINGS)[what])


@pytest.mark.parametrize("statement", ["DISCARD ALL", "DEALLOCATE ALL"])
async def test_prepared_statements_that_somebody_drops_are_missed_by_nobody(
    resources: Resources, statement: str
) -> None:
    """asyncpg would use those that it has prepared in the session, for as long as the connection is open. Jobs ask the pool."""

    async def ask(connection: Connection | Pool) -> object:
        return await connection.fetchval("SELECT $1::int", 1)

    for call in (partial(read, resources.pg, ask), partial(_write, resources, ask), partial(ask, resources.pg)):
        async with acquire(resources.pg) as connection:
            await ask(connection)
            session = await connection.fetchval("SELECT pg_backend_pid()")
            await connection.execute(statement)
            assert await ask(connection) == 1
            await connection.execute(statement)
        assert await call() == 1
        assert await resources.pg.fetchval("SELECT pg_backend_pid()") == session


async def test_transaction_that_misses_its_prepared_statements_fails_once(resources: Resources) -> None:
    async def ask_after(*statements: str) -> object:
        async with acquire(resources.pg) as connection, connection.transaction():
            for statement in statements:
                await connection.execute(statement)
            return await connection.fetchval("SELECT $1::int", 1)

    assert await ask_after() == 1
    with pytest.raises(ConnectionLost):
        await ask_after("DEALLOCATE ALL")
    assert await ask_after() == 1


async def _write(resources: Resources, ask: Callable[[Connection], Awaitable[object]]) -> object:
    async with acquire(resources.pg) as connection:
        return await ask(connection)


async def test_statement_that_the_caller_never_prepared_is_a_mistake(resources: Resources) -> None:
    with pytest.raises(asyncpg.InvalidSQLStatementNameError):
        await _write(resources, lambda connection: connection.execute("EXECUTE nowhere"))


async def test_session_is_reset_also_after_an_error_and_when_the_pool_itself_was_asked(resources: Resources) -> None:
    async def fail() -> None:
        async with acquire(resources.pg) as connection:
            await connection.execute("SET search_path = pg_catalog")
            await connection.execute("SELECT * FROM nowhere")

    with pytest.raises(asyncpg.UndefinedTableError):
        await fail()
    async with resources.pg.acquire() as connection:
        assert "public" in await connection.fetchval("SHOW search_path")
        await connection.execute("SET search_path = pg_catalog")
    async with acquire(resources.pg) as connection:
        assert "public" in await connection.fetchval("SHOW search_path")


async def test_block_that_leaves_nothing_behind_saves_the_round_trip(resources: Resources) -> None:
    last = "SELECT query FROM pg_stat_activity WHERE pid = $1"
    async with acquire(resources.pg) as watcher:
        for clean in (True, False):
            async with acquire(resources.pg, leaves_session_clean=clean) as connection:
                session = await connection.fetchval("SELECT pg_backend_pid()")
            assert ("DISCARD TEMP" in await watcher.fetchval(last, session)) is not clean


@pytest.fixture
async def pooled(
    start_pooler: StartPooler, database_url: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[Resources]:
    settings = Settings(
        database_url=SecretStr(through(start_pooler(default_pool_size="1"), database_url)),
        redis_url=SecretStr(redis_url),
        state_dir=tmp_path,
        db_connection_budget=8,
        web_concurrency=1,
        database_pooled=True,
    )
    async with open_resources(settings, make_plan(settings, read_limits()), WorkerStats()) as resources:
        yield resources


@pytest.mark.parametrize("what", [*LEFT_BEHIND, *SETTINGS])
async def test_session_of_a_pooler_is_reset_too_and_keeps_its_deadline(pooled: Resources, what: str) -> None:
    await assert_is_reset(pooled, *(LEFT_BEHIND | SETTINGS)[what])
    async with acquire(pooled.pg) as connection:
        assert await connection.fetchval("SHOW statement_timeout") == f"{pooled.plan.statement_timeout_s:.0f}s"


async def wrong_argument(connection: Connection) -> None:
    await connection.fetchval("SELECT $1::int", "a word")


async def too_few_arguments(connection: Connection) -> None:
    await connection.fetchval("SELECT $1::int")


async def two_at_once(connection: Connection) -> None:
    await asyncio.gather(connection.fetchval("SELECT pg_sleep(0.05)"), connection.fetchval("SELECT 1"))


async def wrong_sql(connection: Connection) -> None:
    await connection.fetchval("SELEC 1")


async def missing_column(connection: Connection) -> None:
    await connection.fetchval("SELECT nothing FROM links")


async def constraint(connection: Connection) -> None:
    await connection.execute("INSERT INTO links (code, url) VALUES (NULL, 'http://example.com')")


async def missing_file(connection: Connection) -> None:
    await asyncio.to_thread(Path("/nowhere/at/all").read_text)


MISTAKES = [wrong_argument, too_few_arguments, two_at_once, wrong_sql, missing_column, constraint, missing_file]


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_mistake_of_the_caller_is_no_lost_database_and_is_made_once(
    resources: Resources, mistake: Callable[[Connection], Awaitable[None]]
) -> None:
    calls = 0

    async def call(connection: Connection) -> None:
        nonlocal calls
        calls += 1
        await mistake(connection)

    with pytest.raises(Exception) as raised:  # noqa: PT011 - any but one
        await read(resources.pg, call, within_s=5)
    assert not isinstance(raised.value, DatabaseUnavailable)
    assert calls == 1
    async with acquire(resources.pg) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_block_is_bounded_without_an_argument(resources: Resources) -> None:
    with pytest.raises(DatabaseUnavailable, match="within_s"):
        async with acquire(resources.pg) as connection:
            await connection.execute("SELECT pg_sleep(60)")


async def test_block_whose_session_ends_and_whose_time_runs_out_is_unavailable(resources: Resources) -> None:
    async def call() -> None:
        async with acquire(resources.pg, within_s=0.2) as connection:
            connection.terminate()
            await asyncio.sleep(60)

    with pytest.raises(DatabaseUnavailable):
        await call()


SERVER_SAYS = {
    "ended": ("SELECT pg_terminate_backend(pg_backend_pid())", ConnectionLost),
    "idle in transaction": ("SET idle_in_transaction_session_timeout = 1; BEGIN", ConnectionLost),
    "a permission": ("SET ROLE pg_monitor; SELECT * FROM links", DatabaseUnavailable),
    "a lock": ("SET lock_timeout = 1; LOCK TABLE links", DatabaseUnavailable),
    "read-only": ("BEGIN READ ONLY; DELETE FROM links", DatabaseUnavailable),
    "statement timeout": ("SET statement_timeout = 1; SELECT pg_sleep(1)", DatabaseUnavailable),
    "disk full": ("DO $$ BEGIN RAISE SQLSTATE '53100'; END $$", DatabaseUnavailable),
    "a file": ("DO $$ BEGIN RAISE SQLSTATE '58030'; END $$", DatabaseUnavailable),
    "damage": ("DO $$ BEGIN RAISE SQLSTATE 'XX001'; END $$", DatabaseUnavailable),
    "serialization": ("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$", DatabaseUnavailable),
    "deadlock": ("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$", DatabaseUnavailable),
}


@pytest.mark.parametrize("what", SERVER_SAYS)
async def test_failure_of_the_server_is_unavailable(resources: Resources, what: str) -> None:
    statement, expected = SERVER_SAYS[what]

    async def call() -> None:
        async with acquire(resources.pg) as connection:
            await connection.execute(statement)
            await asyncio.sleep(0.1)  # for the server to end a session that is idle
            await connection.execute("SELECT 1")

    async with acquire(resources.pg) as other, other.transaction():
        if what == "a lock":
            await other.execute("LOCK TABLE links")
        with pytest.raises(expected):
            await call()
    async with acquire(resources.pg) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_migration_in_the_middle_of_a_transaction_is_unavailable_once(
    resources: Resources, pg: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    async def find(resources: Resources) -> None:
        async with acquire(resources.pg) as connection, connection.transaction():
            await connection.fetch("SELECT * FROM links")

    await find(resources)
    await pg.execute("ALTER TABLE links ADD COLUMN note text")
    with pytest.raises(DatabaseUnavailable):
        await find(resources)
    await find(resources)
