import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from brigade.errors import DatabaseUnavailable
from brigade.resources import Resources
from brigade.stores import database
from brigade.stores.database import Pool
from local.servers import Postgres, Valkey
from service.features.links import resolve, store
from service.features.links.cache import bury_target, fill_targets
from service.features.links.errors import LinkNotFound
from service.features.links.resolve import Resolver

pytestmark = pytest.mark.anyio

URL = "http://example.com/"


class Queries:
    """The codes of every query that is sent; the answers wait while `gate` is closed."""

    def __init__(self) -> None:
        self.sent: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def read_links(self, pg: Pool, codes: Sequence[str]) -> dict[str, store.Link]:
        self.sent.append(list(codes))
        await self.gate.wait()
        return await store.read_links(pg, codes)


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> Queries:
    queries = Queries()
    monkeypatch.setattr(resolve, "read_links", queries.read_links)
    return queries


@pytest.fixture
def resolver(resources: Resources, queries: Queries) -> Resolver:
    return Resolver(resources.pg, resources.cache)


async def test_a_stampede_on_one_code_is_one_query(resolver: Resolver, queries: Queries) -> None:
    link = await store.insert_link(resolver.pg, url=URL, code="popular")

    async def visitor(number: int) -> int:
        await asyncio.sleep(number * 0.0001)
        return (await resolver.resolve("popular")).id

    assert set(await asyncio.gather(*(visitor(number) for number in range(500)))) == {link.id}
    assert queries.sent == [["popular"]]


async def test_nobody_waits_for_longer_because_others_wait_before_him(
    resolver: Resolver, queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many queries as there may be at once are silent."""
    queries.gate.clear()
    async with asyncio.timeout(10):
        with monkeypatch.context() as patch:
            patch.setattr(database, "ANSWER_WITHIN_S", 0.1)
            for ask in (resolver.resolve, resolver.read):
                for turn in range(3):
                    with pytest.raises(DatabaseUnavailable, match="in time"):
                        await ask(f"code-{turn}")
        queries.gate.set()
        for ask in (resolver.resolve, resolver.read):
            with pytest.raises(LinkNotFound):
                await ask("code-3")


async def test_without_redis_a_stampede_is_two_queries(resolver: Resolver, queries: Queries, valkey: Valkey) -> None:
    await store.insert_link(resolver.pg, url=URL, code="popular")
    valkey.kill()
    queries.gate.clear()
    visitors = [asyncio.create_task(resolver.resolve("popular"))]
    while not queries.sent:  # noqa: ASYNC110 - the first is on its way
        await asyncio.sleep(0.01)
    visitors += [asyncio.create_task(resolver.resolve("popular")) for _ in range(50)]
    await asyncio.sleep(0.5)
    queries.gate.set()
    await asyncio.gather(*visitors)
    assert queries.sent == [["popular"], ["popular"]]


async def test_without_redis_nobody_who_asks_after_a_deletion_follows_the_link(
    resolver: Resolver, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This worker's connections to Redis fail, those of the worker that deletes do not."""
    read, gate = asyncio.Event(), asyncio.Event()

    async def read_late(pg: Pool, codes: Sequence[str]) -> dict[str, store.Link]:
        links = await store.read_links(pg, codes)
        read.set()
        await gate.wait()
        return links

    monkeypatch.setattr(resolver._links, "fetch_many", partial(read_late, resolver.pg))
    monkeypatch.setattr(resolve, "read_links", read_late)
    await store.insert_link(resolver.pg, url=URL, code="going")
    monkeypatch.setattr(resolver.cache.breaker, "allows", lambda: False)
    before = asyncio.create_task(resolver.resolve("going"))
    await read.wait()
    await store.delete_link(resources.pg, code="going")
    after = asyncio.create_task(resolver.resolve("going"))
    await asyncio.wait([after], timeout=0.5)
    gate.set()
    assert (await before).location == URL.encode()
    with pytest.raises(LinkNotFound):
        await after


async def test_many_codes_of_one_moment_are_one_query(resolver: Resolver, queries: Queries) -> None:
    codes = [(await store.insert_link(resolver.pg, url=URL)).code for _ in range(20)]
    await asyncio.gather(*map(resolver.resolve, codes))
    assert queries.sent == [codes]


async def test_an_unknown_code_is_asked_for_once(resolver: Resolver, queries: Queries) -> None:
    for _ in range(5):
        with pytest.raises(LinkNotFound):
            await resolver.resolve("unknown")
    assert queries.sent == [["unknown"]]


async def test_what_cannot_be_a_code_is_asked_of_nobody(resolver: Resolver, queries: Queries, redis: Redis) -> None:
    for code in ("abc", "x" * 33, "a:b:c", "line\n", ""):
        with pytest.raises(LinkNotFound):
            await resolver.resolve(code)
    assert queries.sent == []
    assert await redis.dbsize() == 0


async def test_a_deleted_link_is_asked_for_until_its_tombstone_is_gone(
    resolver: Resolver, resources: Resources, queries: Queries
) -> None:
    await store.insert_link(resolver.pg, url=URL, code="going")
    await resolver.resolve("going")
    await bury_target(resources.cache, "going", worker_timeout_s=30)
    assert (await resolver.resolve("going")).location == URL.encode()
    await store.delete_link(resolver.pg, code="going")
    for _ in range(2):
        with pytest.raises(LinkNotFound):
            await resolver.resolve("going")
    assert len(queries.sent) == 4


async def test_who_asks_after_a_deletion_gets_no_answer_from_before_it(
    resolver: Resolver, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though a lookup that has read the link is still on its way into the cache."""
    reached, gate = asyncio.Event(), asyncio.Event()

    async def fill_late(*arguments: Any) -> None:
        reached.set()
        await gate.wait()
        await fill_targets(*arguments)

    monkeypatch.setattr(resolve, "fill_targets", fill_late)
    await store.insert_link(resolver.pg, url=URL, code="going")
    before = asyncio.create_task(resolver.resolve("going"))
    await reached.wait()
    await bury_target(resources.cache, "going", worker_timeout_s=30)
    await store.delete_link(resolver.pg, code="going")
    after = asyncio.create_task(resolver.resolve("going"))
    await asyncio.wait([after], timeout=0.5)
    gate.set()
    assert (await before).location == URL.encode()
    with pytest.raises(LinkNotFound):
        await after


async def test_deleting_beside_readers_leaves_no_reader_behind(resources: Resources, redis: Redis) -> None:
    """Whatever the order of their steps, once a link is deleted no worker finds it, in Redis or elsewhere."""
    workers = [Resolver(resources.pg, resources.cache) for _ in range(4)]
    for round_ in range(20):
        code = f"round-{round_}"
        await store.insert_link(resources.pg, url=URL, code=code)
        readers = [asyncio.create_task(worker.resolve(code)) for worker in workers]
        await asyncio.sleep(round_ * 0.0002)
        await bury_target(resources.cache, code, worker_timeout_s=30)
        await store.delete_link(resources.pg, code=code)
        await asyncio.wait(readers)
        for worker in workers:
            with pytest.raises(LinkNotFound):
                await worker.resolve(code)
        assert await redis.get(f"{resources.cache.key_prefix}links:target:{code}") == b"x"
        for reader in readers:
            assert reader.exception() is None or isinstance(reader.exception(), LinkNotFound)


async def test_without_redis_links_resolve_from_postgres(resolver: Resolver, valkey: Valkey) -> None:
    link = await store.insert_link(resolver.pg, url=URL, code="stored")
    valkey.kill()
    for _ in range(5):
        assert (await resolver.resolve("stored")).id == link.id


async def test_without_postgres_cached_links_resolve(resolver: Resolver, pg: asyncpg.Pool, postgres: Postgres) -> None:
    link = await store.insert_link(resolver.pg, url=URL, code="cached")
    await resolver.resolve("cached")
    await pg.close()
    postgres.kill()
    assert (await resolver.resolve("cached")).id == link.id
    with pytest.raises(DatabaseUnavailable):
        await resolver.resolve("other")
