"""Postgres cannot make its tables longer: what needs no room goes on, and the rest once there is room."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from proof.chaos.disk import Disk, small_disk, why_no_disk

pytestmark = pytest.mark.anyio


@pytest.fixture
async def disk(pg: "asyncpg.Pool[asyncpg.Record]", tmp_path: Path) -> AsyncIterator[Disk]:
    """Of the links and nothing else."""
    if why_not := why_no_disk():
        pytest.skip(why_not)
    with small_disk(tmp_path / "disk", size_mib=2) as disk:
        await pg.execute(f"CREATE TABLESPACE small LOCATION '{disk.folder}'")
        await pg.execute("ALTER TABLE links SET TABLESPACE small")
        yield disk
        await pg.execute("ALTER TABLE links SET TABLESPACE pg_default")
        await pg.execute("DROP TABLESPACE small")


async def test_links_are_refused_while_there_is_no_room_for_them_and_led_to_as_before(
    client: httpx.AsyncClient, disk: Disk
) -> None:
    async def create(code: str) -> httpx.Response:
        return await client.post("/links", json={"url": f"https://example.com/{'x' * 1900}", "code": code})

    assert (await create("first")).status_code == 201
    disk.fill()
    answers = [await create(f"code-{number}") for number in range(10)]
    refused = answers[-1]
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["type"] == "urn:problem:database-unavailable"
    assert [(await client.get(path)).status_code for path in ("/r/first", "/links/first")] == [307, 200]
    disk.free()
    assert (await create("last")).status_code == 201
