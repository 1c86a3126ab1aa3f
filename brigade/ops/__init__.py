"""What operators and machines ask: is it alive, is it ready, who is working. No route here may wait for a backend unbounded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI

from brigade.deps import resources_of
from brigade.ops import routes
from brigade.ops.publisher import Publisher
from brigade.ops.readiness import Readiness
from brigade.ops.registry import Registry
from brigade.tasks import end

CHECK_EVERY_S = 5.0
"""Nobody may ask a service without traffic and without a proxy, and its metrics still say whether Postgres is up."""


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    resources = resources_of(app)
    readiness = Readiness(resources)
    async with Registry(resources) as registry:
        with Publisher(resources):
            checks = asyncio.create_task(_check_for_ever(readiness), name="readiness")
            yield {"registry": registry, "readiness": readiness}
            await end(checks)


async def _check_for_ever(readiness: Readiness) -> None:
    while True:
        await readiness.report()
        await asyncio.sleep(CHECK_EVERY_S)


router = APIRouter(tags=["ops"], lifespan=_lifespan)
router.include_router(routes.router)
