"""The event-loop laboratory: pairs of routes that differ in one thing, and a page that shows what each does to a worker.

A way to hurt a server, so everything in it is bounded, and it is off unless `LAB_ENABLED` is on.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from brigade.deps import on_ops_side, resources_of
from brigade.lab import jobs, live, routes, work
from brigade.lab.cache import LabCache
from brigade.lab.deps import Lab
from brigade.lab.feed import LOOK_EVERY_S, Feed
from brigade.tasks import end, supervised
from brigade.telemetry.loop_watch.stacks import is_experiment

is_experiment(__file__.removesuffix("__init__.py"))


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    resources = resources_of(app)
    if not resources.settings.lab_enabled:
        yield {"lab": None}
        return
    pace = await asyncio.to_thread(work.calibrate, resources.settings.state_dir / "lab" / "iterations_per_ms")
    async with aclosing(LabCache(resources)) as cache:
        feed = supervised("lab-feed", Feed(resources, cache).look, every_s=LOOK_EVERY_S)
        try:
            yield {"lab": Lab(resources, cache, iterations_per_ms=pace)}
        finally:
            await end(feed)


offer_job = jobs.offer

router = APIRouter(tags=["lab"], lifespan=_lifespan, dependencies=[Depends(on_ops_side)])
router.include_router(live.router)
router.include_router(routes.router)
