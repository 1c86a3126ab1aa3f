import asyncio

import asyncpg
import pytest

from brigade.resources import Resources
from service.features.links import making, store
from service.features.links.making import Maker
from service.features.links.store import Draft

pytestmark = pytest.mark.anyio

URL = "http://example.com/"


async def test_a_statement_makes_the_links_whose_codes_are_free(resources: Resources, pg: asyncpg.Pool) -> None:
    await store.insert_link(resources.pg, url=URL, code="taken")
    drafts = [Draft(code, f"{URL}{place}", None) for place, code in enumerate(["taken", "free", "free", "other"])]
    links = await store.insert_links(resources.pg, drafts)
    assert {draft: (link.code, link.url) for draft, link in links.items()} == {
        draft: (draft.code, draft.url) for draft in (drafts[1], drafts[3])
    }
    assert await pg.fetchval("SELECT count(*) FROM links") == 3


async def test_links_that_meet_one_code_get_others(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "random_code", lambda length: "x" * length)
    maker = Maker(resources.pg, resources.cache)
    links = await asyncio.gather(*(maker.make(url=URL) for _ in range(3)))
    assert len({link.code for link in links}) == 3
    assert [link.url for link in links] == [URL] * 3


async def test_a_code_that_somebody_holds_delays_no_other_link(resources: Resources, pg: asyncpg.Pool) -> None:
    maker = Maker(resources.pg, resources.cache)
    async with pg.acquire() as connection:
        holding = connection.transaction()
        await holding.start()
        await connection.execute("INSERT INTO links (code, url) VALUES ('held', 'http://example.com/')")
        waiting = asyncio.create_task(maker.make(url=URL, code="held"))
        others = await asyncio.gather(*(maker.make(url=URL) for _ in range(3)))
        assert len({link.code for link in others}) == 3
        assert not waiting.done()
        await holding.rollback()
        assert (await waiting).code == "held"
