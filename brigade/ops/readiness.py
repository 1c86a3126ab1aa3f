"""Whether this worker can do its work: asked often by many, so answered from one check a second at most."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Literal

import structlog
from pydantic import BaseModel

from brigade.errors import SchemaBehind, Unavailable
from brigade.resources import Resources
from brigade.server.lifecycle import lifecycle
from brigade.stores.database import read
from brigade.stores.needs import NEEDS_ALL, Needs, Store
from brigade.stores.schema import schema
from brigade.telemetry.log_throttle import LogThrottle

FRESH_S = 1.0
CHECK_TIMEOUT_S = 1.0

Check = Literal["ok", "unavailable", "migrations pending"]
Status = Literal["ready", "degraded", "unavailable", "draining"]

log = structlog.get_logger("service.readiness")


class ReadinessReport(BaseModel):
    status: Status
    postgres: Check
    redis: Check


class Readiness:
    """Ready while the stores that the features need answer; degraded while one is away that they can do without.

    If a lost store failed readiness although the features can do without it, a proxy would take every replica out at
    once, and with them what still works.
    """

    def __init__(self, resources: Resources, *, needs: Needs = NEEDS_ALL) -> None:
        self.resources = resources
        self.needs = needs
        self._checked_at = -FRESH_S
        self._checks: dict[Store, Check] = {"postgres": "unavailable", "redis": "unavailable"}
        self._check: asyncio.Task[None] | None = None
        self._throttle = LogThrottle()

    async def report(self) -> ReadinessReport:
        if time.monotonic() - self._checked_at >= FRESH_S:
            if self._check is None or self._check.done():
                self._check = asyncio.create_task(self._ask())
            await asyncio.shield(self._check)
        return ReadinessReport(status=self._status(), **self._checks)

    def _status(self) -> Status:
        if lifecycle.draining:
            return "draining"
        answering = {store for store, check in self._checks.items() if check == "ok"}
        if not self.needs.are_met_by(answering):
            return "unavailable"
        return "ready" if answering == self._checks.keys() else "degraded"

    async def _ask(self) -> None:
        asked: dict[Store, Callable[[], Awaitable[object]]] = {"postgres": self._postgres, "redis": self._redis}
        checks = await asyncio.gather(*(self._answer_of(store, ask) for store, ask in asked.items()))
        self._checks = dict(zip(asked, checks, strict=True))
        self._checked_at = time.monotonic()

    async def _answer_of(self, store: Store, ask: Callable[[], Awaitable[object]]) -> Check:
        """How the store answers. Whatever else comes of asking it, the check itself must not fail."""
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await ask()
        except SchemaBehind:
            return "migrations pending"
        except (Unavailable, TimeoutError):
            return "unavailable"
        except Exception:
            if (left_out := self._throttle.admit(store)) is not None:
                log.exception("the readiness check met an error it does not know", store=store, left_out=left_out)
            return "unavailable"
        return "ok"

    async def _postgres(self) -> object:
        return await read(
            self.resources.pg,
            schema.check,
            within_s=CHECK_TIMEOUT_S,
            leaves_session_clean=True,
        )

    async def _redis(self) -> object:
        return await self.resources.cache.run(lambda redis: redis.ping())
