"""Whether this worker can do its work: asked often by many, so answered from one check a second at most."""

import asyncio
import time
from typing import Literal

from pydantic import BaseModel

from brigade.errors import CacheUnavailable, DatabaseUnavailable
from brigade.resources import Resources
from brigade.server.lifecycle import lifecycle
from brigade.stores.database import read

FRESH_S = 1.0
CHECK_TIMEOUT_S = 1.0

Check = Literal["ok", "unavailable"]


class ReadinessReport(BaseModel):
    status: Literal["ready", "degraded", "unavailable", "draining"]
    postgres: Check
    redis: Check


class Readiness:
    """Ready while one of the two backends answers: cached links resolve without Postgres, and all links without Redis.

    Were a lost backend to fail readiness, a proxy would take every replica out at once, and with them what still works.
    """

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self._checked_at = -FRESH_S
        self._report: tuple[Check, Check] = ("unavailable", "unavailable")
        self._check: asyncio.Task[None] | None = None

    async def report(self) -> ReadinessReport:
        if time.monotonic() - self._checked_at >= FRESH_S:
            if self._check is None or self._check.done():
                self._check = asyncio.create_task(self._ask())
            await asyncio.shield(self._check)
        postgres, redis = self._report
        up = (postgres, redis).count("ok")
        status = "draining" if lifecycle.draining else ("unavailable", "degraded", "ready")[up]
        return ReadinessReport.model_validate({"status": status, "postgres": postgres, "redis": redis})

    async def _ask(self) -> None:
        postgres, redis = await asyncio.gather(self._postgres(), self._redis())
        self._report = postgres, redis
        self._checked_at = time.monotonic()

    async def _postgres(self) -> Check:
        try:
            await read(self.resources.pg, lambda pg: pg.execute("SELECT 1"), within_s=CHECK_TIMEOUT_S)
        except DatabaseUnavailable:
            return "unavailable"
        return "ok"

    async def _redis(self) -> Check:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await self.resources.cache.run(lambda redis: redis.ping())
        except (CacheUnavailable, TimeoutError):
            return "unavailable"
        return "ok"
