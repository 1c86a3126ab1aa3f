"""A primary that dies, and a standby that takes its place: DATABASE_URL names both, and nobody restarts anything."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from local.servers import Postgres, Standby
from tests.brigade.cli.conftest import Run
from tests.conftest import StartService

pytestmark = [pytest.mark.anyio, pytest.mark.drives("links")]


@pytest.fixture
async def standby(postgres: Postgres, pg: "asyncpg.Pool[asyncpg.Record]", tmp_path: Path) -> AsyncIterator[Standby]:
    """The primary waits for it, as where no answered write may be lost."""
    with Standby(tmp_path / "standby", postgres, settings={"fsync": "off"}) as standby:
        await pg.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await pg.execute("SELECT pg_reload_conf()")
        yield standby
    if not postgres.running:
        postgres.start()
    await pg.execute("ALTER SYSTEM RESET synchronous_standby_names")
    await pg.execute("SELECT pg_reload_conf()")


async def test_service_goes_on_at_the_promoted_standby_with_every_link_and_click(
    start_service: StartService, run: Run, postgres: Postgres, standby: Standby, database_url: str, redis_url: str
) -> None:
    own = f"127.0.0.1:{postgres.port}"
    both = f"{database_url.replace(own, f'127.0.0.1:{standby.port},{own}')}?target_session_attrs=read-write"
    service = start_service(DATABASE_URL=both, workers=1)
    async with httpx.AsyncClient(base_url=service.url, timeout=10) as client:

        async def create(code: str) -> int:
            return (await client.post("/links", json={"url": "https://example.com/", "code": code})).status_code

        assert await create("before") == 201
        assert [(await client.get("/r/before")).status_code for _ in range(20)] == [307] * 20
        postgres.kill()
        refused = await client.post("/links", json={"url": "https://example.com/", "code": "during"})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert (await client.get("/r/before")).status_code == 307
        promoted = await asyncpg.connect(database_url.replace(f":{postgres.port}/", f":{standby.port}/"))
        try:
            assert await promoted.fetchval("SELECT pg_promote()")
            async with asyncio.timeout(5):
                while await create("after") != 201:  # noqa: ASYNC110 - another server's
                    await asyncio.sleep(0.1)
                while await promoted.fetchval("SELECT clicks FROM links WHERE code = 'before'") != 21:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        finally:
            await promoted.close()
    backends = {"DATABASE_URL": both, "REDIS_URL": redis_url}
    assert run("migrate", "--check", **backends).returncode == 0
    found = run("doctor", PORT=service.port, **backends).stdout
    assert f"127.0.0.1:{standby.port} is the primary, {own} is away" in found
