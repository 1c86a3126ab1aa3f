"""Resolving a code to its target or its link, and filling the cache. Many waiters share one call. Nothing is counted here."""

import asyncio
import contextlib
import re
import time
from functools import partial

from brigade import CacheUnavailable
from brigade.hot import Attempt, Coalescer, note
from brigade.stores import Cache, Pool, Replica, in_time
from service.features.links import metrics
from service.features.links.cache import BURIED, MAX_LAG_S, UNKNOWN, Target, fill_targets, read_targets
from service.features.links.errors import LinkExpired, LinkNotFound
from service.features.links.schemas import CODE_PATTERN
from service.features.links.store import Link, read_links, read_replica

FILL_WITHIN_S = 20.0
"""Seconds after which an answer of Postgres is not cached, because the process was stopped meanwhile and a tombstone may be gone."""

_is_code = re.compile(CODE_PATTERN).fullmatch


class Resolver:
    def __init__(self, pg: Pool, cache: Cache, replica: Replica | None = None) -> None:
        self.pg = pg
        self.replica = replica
        self.cache = cache
        self._cached = Coalescer(self._read_cache)
        self._stored = Coalescer(self._read_store, join_in_flight=True)
        self._links = Coalescer(partial(read_links, pg), max_calls=2)

    def look_up(self, code: str) -> "asyncio.Future[Target | None] | None":
        """Look a code up in Redis, or return None if it is not a code.

        Raises:
            Unavailable: very many wait already.
        """
        return self._cached.get(code) if _is_code(code) else None

    async def resolve(self, code: str, attempt: Attempt | None = None) -> Target:
        """Without Redis from Postgres, and what Redis holds also without Postgres. `attempt` is a `look_up` of the code.

        Raises:
            LinkNotFound, LinkExpired: there is nowhere to go.
            DatabaseUnavailable: Redis does not know the code, and Postgres does not answer.
        """
        if not _is_code(code):
            raise LinkNotFound(f"{code!r} is not a code.")
        lookup, began_s = attempt or Attempt(self._cached.get(code), time.perf_counter())
        try:
            target: Target | None = await lookup
        except CacheUnavailable:
            target = BURIED  # it may be: only Redis could say that it is not
        note("redis", began_s, span="redis lookup")
        if target is BURIED:  # a lookup that is under way may be older than the deletion
            target = Target.of(await self.read(code))
        elif target is None:
            began_s = time.perf_counter()
            target = await in_time(self._stored.get(code))
            note("postgres", began_s, span="postgres lookup")
        if target is None or target is UNKNOWN:
            raise LinkNotFound(f"No link has the code {code!r}.")
        if target.has_expired():
            raise LinkExpired(f"The link {code!r} leads nowhere any more.")
        return target

    async def read(self, code: str) -> Link:
        """Return the link as it is in Postgres now. Requests of the same moment share a query, sent after they arrived.

        Raises:
            LinkNotFound: there is none.
        """
        began_s = time.perf_counter()
        link = await in_time(self._links.get(code))
        note("postgres", began_s, span="postgres lookup")
        if link is None:
            raise LinkNotFound(f"No link has the code {code!r}.")
        return link

    async def _read_cache(self, codes: list[str]) -> dict[str, Target]:
        found = await read_targets(self.cache, codes)
        metrics.batch_codes.add(len(codes))
        metrics.hits.total += len(found)
        metrics.misses.total += len(codes) - len(found)
        return found

    async def _read_store(self, codes: list[str]) -> dict[str, Target]:
        """Look in the cache once more, because a request may have missed there while the call before this one filled it."""
        began_s = time.monotonic()
        try:
            targets = await read_targets(self.cache, codes)
        except CacheUnavailable:
            return await self._read_primary(codes)  # nobody knows what was deleted, and a replica may still have it
        fresh: dict[str, Target] = {}
        if self.replica and (missing := [code for code in codes if code not in targets]):
            links = await read_replica(self.replica, missing, max_lag_s=MAX_LAG_S)
            fresh = {code: Target.of(link) for code, link in links.items()}
            metrics.replica_hits.total += len(fresh)
            metrics.replica_misses.total += len(missing) - len(fresh)
        if missing := [code for code in codes if code not in fresh and targets.get(code, BURIED) is BURIED]:
            fresh |= await self._read_primary(missing)
        if fresh and time.monotonic() - began_s < FILL_WITHIN_S:
            with contextlib.suppress(CacheUnavailable):
                await fill_targets(self.cache, fresh)
        return targets | fresh

    async def _read_primary(self, codes: list[str]) -> dict[str, Target]:
        stored = await read_links(self.pg, codes)
        return {code: Target.of(stored[code]) if code in stored else UNKNOWN for code in codes}
