"""The addresses of `ops`, as HTTP."""

from typing import Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from brigade.deps import AllResources, on_ops_side
from brigade.ops.readiness import Readiness, ReadinessReport
from brigade.ops.registry import Registry
from brigade.ops.scrapes import Scrapes
from brigade.ops.workers import WorkerState
from brigade.telemetry.scrape import CONTENT_TYPE

router = APIRouter()
ops_side = [Depends(on_ops_side)]


class Alive(BaseModel):
    status: Literal["alive"] = "alive"


class Workers(BaseModel):
    plan: dict[str, dict[str, Any]]
    complete: bool
    workers: list[WorkerState]


@router.get("/livez")
async def read_liveness() -> Alive:
    """The event loop turns. No backend is asked."""
    return Alive()


@router.get("/readyz", responses={503: {"model": ReadinessReport, "description": "Draining, or no backend answers"}})
async def read_readiness(request: Request, response: Response) -> ReadinessReport:
    """Whether to send requests here. `degraded`: one backend is away, and what can be done without it is done."""
    readiness: Readiness = request.state.readiness
    report = await readiness.report()
    if report.status in {"unavailable", "draining"}:
        response.status_code, response.headers["Retry-After"] = 503, "1"
    return report


@router.get(
    "/metrics",
    response_class=Response,
    dependencies=ops_side,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def read_metrics(request: Request) -> Response:
    """Return the counts of all workers of this replica, for Prometheus. On `OPS_PORT` this needs no event loop."""
    scrapes: Scrapes = request.state.scrapes
    return Response(await scrapes.read(), headers={"Content-Type": CONTENT_TYPE})


@router.get("/workers", dependencies=ops_side)
async def read_workers(request: Request, resources: AllResources) -> Workers:
    """The plan, and every live worker of every replica. `complete` is false while Redis, where they meet, is away."""
    registry: Registry = request.state.registry
    workers, complete = await registry.workers()
    return Workers(plan=resources.plan.as_json(), complete=complete, workers=workers)
