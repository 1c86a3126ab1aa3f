"""What operators and machines ask: is it alive, is it ready, who is working. No route here may wait for a backend unbounded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI

from service.deps import resources_of
from service.ops import routes
from service.ops.readiness import Readiness
from service.ops.registry import Registry


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    resources = resources_of(app)
    async with Registry(resources) as registry:
        yield {"registry": registry, "readiness": Readiness(resources)}


router = APIRouter(tags=["ops"], lifespan=_lifespan)
router.include_router(routes.router)
