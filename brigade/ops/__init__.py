"""Routes for operators and machines: is it alive, is it ready, what do workers do. None waits for a store without a bound."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI

from brigade.deps import resources_of
from brigade.ops import routes
from brigade.ops.publisher import Publisher
from brigade.ops.readiness import Readiness
from brigade.ops.registry import Registry
from brigade.ops.scrapes import Scrapes
from brigade.tasks import end, supervised

CHECK_EVERY_S = 5.0
"""Seconds between our own checks, so that the metrics say whether Postgres is up even if nobody asks for `/readyz`."""


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    resources = resources_of(app)
    readiness = Readiness(resources, needs=app.state.needs)
    whose = supervised(
        "deployment", partial(resources.deployment.watch, resources.pg, resources.cache), every_s=CHECK_EVERY_S
    )
    checks = supervised("readiness", readiness.report, every_s=CHECK_EVERY_S)
    try:
        async with Registry(resources) as registry:
            with Publisher(resources):
                yield {"registry": registry, "readiness": readiness, "scrapes": Scrapes()}
    finally:  # also where a stop interrupts the start of a feature
        await end(checks, whose)


router = APIRouter(tags=["ops"], lifespan=_lifespan)
router.include_router(routes.router)
