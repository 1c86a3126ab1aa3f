"""Makes links, and tells the cache of them. Links that are asked for in one moment share a statement, and a command to Redis."""

import contextlib
import time
from datetime import datetime
from functools import partial

from brigade import Unavailable
from brigade.hot import Coalescer, note
from brigade.stores import Cache, Pool, in_time
from service.features.links.cache import Target, fill_targets
from service.features.links.store import CODE_LENGTH, Draft, Link, insert_link, insert_links, random_code


class Maker:
    def __init__(self, pg: Pool, cache: Cache) -> None:
        self.pg = pg
        self.cache = cache
        self._stored = Coalescer(partial(insert_links, pg), max_calls=2)
        self._announced = Coalescer(self._fill_cache)

    async def make(self, *, url: str, code: str | None = None, expires_at: datetime | None = None) -> Link:
        """Make a link. Without a code it gets a random one.

        Raises:
            CodeTaken: another link has the code.
            DatabaseUnavailable: Postgres does not answer, or refuses.
        """
        link = None if code else await self._make_with_others(Draft(random_code(CODE_LENGTH), url, expires_at))
        if link is None:
            link = await insert_link(self.pg, url=url, code=code, expires_at=expires_at)
        await self._announce(link)
        return link

    async def _make_with_others(self, draft: Draft) -> Link | None:
        """Return None if the random code is taken. A code that a client has chosen is not made here: somebody may hold it in an
        open transaction, for which all of the statement would wait.
        """
        began_s = time.perf_counter()
        link = await in_time(self._stored.get(draft))
        note("postgres", began_s)
        return link

    async def _announce(self, link: Link) -> None:
        """Redis may hold that the code is unknown; if Redis is away, for some seconds more."""
        began_s = time.perf_counter()
        with contextlib.suppress(Unavailable):
            await self._announced.get((link.code, Target.of(link)))
        note("redis", began_s, span="redis fill")

    async def _fill_cache(self, made: list[tuple[str, Target]]) -> dict[tuple[str, Target], None]:
        await fill_targets(self.cache, dict(made))
        return {}
