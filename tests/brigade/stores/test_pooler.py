"""The service by way of PgBouncer in transaction mode: three connections to Postgres that change hands."""

import asyncio
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.brigade.cli.conftest import Run, add_migration, query
from tests.brigade.stores.conftest import StartPooler
from tests.brigade.stores.servers import PgBouncer
from tests.conftest import StartService
from tests.visitors import Visitors

IGNORED = "statement_timeout,jit"


def through(pooler: PgBouncer, url: str) -> str:
    return url.replace(f":{pooler.postgres.port}/", f":{pooler.port}/")


@pytest.mark.drives("links")
@pytest.mark.anyio
async def test_more_sessions_than_connections_are_served_and_counted(
    start_service: StartService, start_pooler: StartPooler, database_url: str, pg: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """Many at once, who all miss in Redis at first; nothing that one of them prepared or set is seen by another."""
    pooler = start_pooler()
    service = start_service(
        DATABASE_URL=through(pooler, database_url), DATABASE_POOLED=1, DB_CONNECTION_BUDGET=120, workers=2
    )
    assert "client connections to the pooler" in service.log()
    codes = [f"code-{number}" for number in range(60)]
    limits = httpx.Limits(max_connections=16)
    async with httpx.AsyncClient(base_url=service.url, timeout=30, limits=limits) as client:
        news = [client.post("/links", json={"url": f"http://example.com/{code}", "code": code}) for code in codes]
        made = await asyncio.gather(*news)
        assert {answer.status_code for answer in made} == {201}
        pages = await asyncio.gather(*(client.get(f"/links/{code}") for code in codes))
        assert [page.json()["url"] for page in pages] == [f"http://example.com/{code}" for code in codes]
    visitors = Visitors(service.port, codes, visits=1000)
    await visitors.follow(clients=32)
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    assert await pg.fetchval(sessions) <= 4  # and the one that asks
    async with asyncio.timeout(10):
        while await pg.fetchval("SELECT sum(clicks) FROM links") < visitors.answered:  # noqa: ASYNC110 - a database
            await asyncio.sleep(0.1)


def test_pooler_without_prepared_statements_is_refused_unless_the_service_is_told(
    run: Run, start_pooler: StartPooler, database_url: str, redis_url: str, free_port: int
) -> None:
    backends = {"REDIS_URL": redis_url, "PORT": free_port}
    strict, lenient = start_pooler(), start_pooler(ignore_startup_parameters=IGNORED)
    for pooler in (strict, lenient):
        refused = run("run", DATABASE_URL=through(pooler, database_url), **backends)
        assert refused.returncode
        assert "DATABASE_POOLED" in refused.stderr.splitlines()[-1]
    found = run("doctor", DATABASE_URL=through(strict, database_url), DATABASE_POOLED=1, **backends)
    assert "by way of a pooler" in found.stdout
    assert found.returncode == 0


def test_statements_have_the_deadline_that_the_pooler_sets(
    run: Run, start_pooler: StartPooler, database_url: str, redis_url: str, free_port: int
) -> None:
    pooler = start_pooler()
    assert query(through(pooler, database_url), "SHOW statement_timeout")[0][0] == "2s"
    unbounded = run("doctor", DATABASE_URL=database_url, DATABASE_POOLED=1, REDIS_URL=redis_url, PORT=free_port)
    assert "statement_timeout" in unbounded.stdout


def test_migrations_go_around_it(run: Run, code: Path, start_pooler: StartPooler, empty_database: str) -> None:
    add_migration(code, "alpha", 1, "op.execute('SELECT 1')")
    pooled = through(start_pooler(), empty_database)
    refused = run("migrate", code=code, DATABASE_URL=pooled)
    assert refused.returncode == 2
    assert "set MIGRATION_DATABASE_URL" in refused.stderr
    assert "s3cret" not in refused.stderr
    done = run("migrate", code=code, DATABASE_URL=pooled, MIGRATION_DATABASE_URL=empty_database)
    assert done.returncode == 0, done.stderr
    assert run("migrate", "--check", code=code, DATABASE_URL=pooled).returncode == 0


@pytest.mark.drives("links")
@pytest.mark.anyio
async def test_wait_for_a_connection_to_postgres_ends_within_a_second(
    start_service: StartService, start_pooler: StartPooler, database_url: str
) -> None:
    """Clients have connections to the pooler, and it has none to give: who waits there is owed a 503 as well."""
    pooler = start_pooler(default_pool_size="1", query_wait_timeout="1")
    service = start_service(DATABASE_URL=through(pooler, database_url), DATABASE_POOLED=1, workers=1)
    holder = await asyncpg.connect(through(pooler, database_url), statement_cache_size=0)
    try:
        async with holder.transaction():
            await holder.execute("SELECT 1")
            async with httpx.AsyncClient(timeout=10) as client:
                refused = await client.get(f"{service.url}/links/code")
            assert refused.status_code == 503
            assert refused.json()["type"] == "urn:problem:database-unavailable"
    finally:
        await holder.close()
