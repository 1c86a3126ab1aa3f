import asyncio
from uuid import uuid4

import asyncpg
import pytest

from brigade.resources import Resources
from service.features.links import store
from service.features.links.errors import CodeTaken

pytestmark = pytest.mark.anyio

URL = "http://example.com/"


async def test_a_collision_of_random_codes_is_tried_again_with_a_longer_one(resources: Resources) -> None:
    first = await store.insert_link(resources.pg, url=URL, new_code=lambda length: "x" * length)
    second = await store.insert_link(resources.pg, url=URL, new_code=lambda length: "x" * length)
    assert (first.code, second.code) == ("x" * 7, "x" * 8)


async def test_first_statements_of_a_session_ask_nothing_about_types(
    resources: Resources,
) -> None:
    """Six round trips of asyncpg's own are more than a request may take while Postgres is slow."""
    asked: list[str] = []
    pg = resources.pg
    await pg.expire_connections()
    async with pg.acquire() as connection:
        connection.add_query_logger(lambda record: asked.append(record.query))
    draft = store.Draft(store.random_code(7), URL, None)
    await store.insert_links(pg, [draft])
    await store.read_links(pg, [draft.code])
    await store.read_page(pg, after=None, limit=1)
    await store.insert_link(pg, url=URL)
    await store.delete_link(pg, code=draft.code)
    assert sum("links" in query for query in asked) == 5
    assert [query for query in asked if "pg_type" in query or "pg_catalog" in query] == []


async def test_a_generator_that_never_finds_a_free_code_ends(resources: Resources) -> None:
    await store.insert_link(resources.pg, url=URL, code="stuck")
    with pytest.raises(CodeTaken):
        await store.insert_link(resources.pg, url=URL, new_code=lambda _: "stuck")


async def test_one_of_many_gets_a_code(resources: Resources) -> None:
    attempts = [store.insert_link(resources.pg, url=URL, code="wanted") for _ in range(20)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert [type(result) for result in results].count(store.Link) == 1
    assert [type(result) for result in results].count(CodeTaken) == 19


async def test_a_batch_is_added_once_also_by_many_at_a_time(resources: Resources, pg: asyncpg.Pool) -> None:
    links = [await store.insert_link(resources.pg, url=URL) for _ in range(3)]
    batch, clicks = uuid4().hex, {links[0].id: 5, links[2].id: 7}
    await asyncio.gather(*(store.add_clicks(resources.pg, batch=batch, clicks=clicks) for _ in range(8)))
    await store.add_clicks(resources.pg, batch=uuid4().hex, clicks={links[2].id: 1, 999_999: 3})
    assert [row["clicks"] for row in await pg.fetch("SELECT clicks FROM links ORDER BY id")] == [5, 0, 8]


async def test_old_batches_are_forgotten(resources: Resources, pg: asyncpg.Pool) -> None:
    for age in ("2 days", "1 hour"):
        await pg.execute("INSERT INTO click_batches VALUES ($1, now() - $2::text::interval)", uuid4(), age)
    await store.forget_batches(resources.pg)
    assert await pg.fetchval("SELECT count(*) FROM click_batches") == 1


def test_random_codes_are_random() -> None:
    codes = {store.random_code(7) for _ in range(1000)}
    assert len(codes) == 1000
    assert {len(code) for code in codes} == {7}


async def test_links_that_expired_a_day_ago_are_deleted(resources: Resources, pg: asyncpg.Pool) -> None:
    for code, age in (("long-ago", "2 days"), ("lately", "1 hour"), ("later", "-1 hour")):
        await store.insert_link(resources.pg, url=URL, code=code)
        await pg.execute("UPDATE links SET expires_at = now() - $2::text::interval WHERE code = $1", code, age)
    await store.insert_link(resources.pg, url=URL, code="never")
    assert [await store.delete_expired(resources.pg), await store.delete_expired(resources.pg)] == [1, 0]
    assert [row["code"] for row in await pg.fetch("SELECT code FROM links ORDER BY id")] == ["lately", "later", "never"]
