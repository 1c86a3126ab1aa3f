"""From a code to where it leads: Redis in front of Postgres, many waiters to one call. Counts nothing."""

import contextlib
import re

from service.coalesce import Coalescer
from service.errors import CacheUnavailable
from service.features.links.cache import UNKNOWN, Target, fill_targets, read_targets
from service.features.links.errors import LinkExpired, LinkNotFound
from service.features.links.schemas import CODE_PATTERN
from service.features.links.store import read_links
from service.resources import Cache, Pool

_is_code = re.compile(CODE_PATTERN).fullmatch


class Resolver:
    def __init__(self, pg: Pool, cache: Cache) -> None:
        self.pg = pg
        self.cache = cache
        self._cached = Coalescer(self._read_cache)
        self._stored = Coalescer(self._read_store, join_in_flight=True)

    async def resolve(self, code: str) -> Target:
        """Without Redis from Postgres, and what Redis holds also without Postgres.

        Raises:
            LinkNotFound, LinkExpired: there is nowhere to go.
            DatabaseUnavailable: Redis does not know the code, and Postgres does not answer.
        """
        if not _is_code(code):
            raise LinkNotFound(f"{code!r} is not a code.")
        try:
            target = await self._cached.get(code)
        except CacheUnavailable:
            target = None
        if target is None:
            target = await self._stored.get(code)
        if target is None or target is UNKNOWN:
            raise LinkNotFound(f"No link has the code {code!r}.")
        if target.has_expired():
            raise LinkExpired(f"The link {code!r} leads nowhere any more.")
        return target

    async def _read_cache(self, codes: list[str]) -> dict[str, Target]:
        return await read_targets(self.cache, codes)

    async def _read_store(self, codes: list[str]) -> dict[str, Target]:
        """Filling the cache is part of the call: who comes meanwhile joins it, and who comes later finds the code."""
        found = {link.code: Target.of(link) for link in await read_links(self.pg, codes=codes)}
        targets = {code: found.get(code, UNKNOWN) for code in codes}
        with contextlib.suppress(CacheUnavailable):
            await fill_targets(self.cache, targets)
        return targets
