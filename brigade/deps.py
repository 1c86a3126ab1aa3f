"""The dependencies that a route may ask for, as `Annotated` aliases. Only this module reads `app.state`.

Dependencies are `async def`, also where they only fetch an attribute: a plain one spends a threadpool token, and a
full pool then stops async routes too (1 ms became 958 ms). They depend on little, as FastAPI takes some 15 µs for each.
"""

import hashlib
import hmac
import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

from fastapi import Depends, HTTPException
from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from brigade.errors import DatabaseUnavailable, LaneFull, TooManyRequests, Unauthorized
from brigade.jobs import JobQueue
from brigade.lanes import CpuLane
from brigade.resources import Resources
from brigade.settings import Settings
from brigade.stores.cache import Cache as _Cache
from brigade.stores.database import Pool
from brigade.web.openapi import secured_by
from brigade.web.problems import may_raise
from brigade.web.rate_limit import Allowance, name_address


def resources_of(app: Starlette) -> Resources:
    """The resources of this worker; there are none before the lifespan has begun."""
    resources: Resources = app.state.resources
    return resources


async def get_resources(request: HTTPConnection) -> Resources:
    return resources_of(request.app)


AllResources = Annotated[Resources, Depends(get_resources)]


@may_raise(DatabaseUnavailable)
async def get_pg(request: HTTPConnection) -> Pool:
    return resources_of(request.app).pg


async def get_cache(request: HTTPConnection) -> _Cache:
    return resources_of(request.app).cache


@may_raise(LaneFull)
async def get_lane(request: HTTPConnection) -> CpuLane:
    return resources_of(request.app).lane


@may_raise(DatabaseUnavailable)
async def get_jobs(request: HTTPConnection) -> JobQueue:
    return JobQueue(resources_of(request.app).pg)


async def get_settings(request: HTTPConnection) -> Settings:
    return resources_of(request.app).settings


Pg = Annotated[Pool, Depends(get_pg)]
Cache = Annotated[_Cache, Depends(get_cache)]
Jobs = Annotated[JobQueue, Depends(get_jobs)]
Lane = Annotated[CpuLane, Depends(get_lane)]
SettingsDep = Annotated[Settings, Depends(get_settings)]


@may_raise(TooManyRequests)
async def limit_address(request: HTTPConnection) -> None:
    """Limit the requests of one address, for a route that is open and costs something. `require_key` limits keyed ones.

    Raises:
        TooManyRequests: The address has used its allowance.
    """
    allowance: Allowance | None = request.app.state.allowance
    if allowance is not None:
        await allowance.take(name_address(request.client.host if request.client else ""))


def _given_keys(request: HTTPConnection) -> list[str]:
    """Return what came as a key. A proxy may use the one header for its own token, so a key in the other counts."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    keys = bearer.strip() if scheme.lower() == "bearer" else "", request.headers.get("x-api-key", "")
    return [key for key in keys if key]


@secured_by(
    HTTPBearer={"type": "http", "scheme": "bearer"},
    APIKeyHeader={"type": "apiKey", "in": "header", "name": "X-API-Key"},
)
@may_raise(Unauthorized, TooManyRequests)
async def require_key(request: HTTPConnection) -> None:
    """Require an API key, and limit its requests. Requests without a key count for their address, which slows guessing.

    Raises:
        Unauthorized: no key, or one that is not among `API_KEYS`.
        TooManyRequests: The key or the address has used its allowance.
    """
    keys = resources_of(request.app).settings.api_keys
    given = [hashlib.sha256(key.encode()).digest() for key in _given_keys(request)]
    # Every key is compared, so that the time taken does not tell which one was near.
    matches = [key.id for digest in given for key in keys if hmac.compare_digest(key.digest, digest)]
    if not matches:
        await limit_address(request)
        if keys:
            raise Unauthorized(
                "Send a key as 'Authorization: Bearer <key>' or 'X-API-Key: <key>'.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return
    request.scope["key"] = matches[0]  # for the log
    allowance: Allowance | None = request.app.state.allowance
    if allowance is not None:
        await allowance.take(f"key:{matches[0]}")


async def on_ops_side(request: HTTPConnection, settings: SettingsDep) -> None:
    """Answer 404 on the public port while `OPS_PUBLIC` is off, as if the router's paths did not exist."""
    if not settings.ops_public and request.scope["server"][1] != settings.ops_port:
        raise HTTPException(404)


def on_cpu_lane(job: Callable[..., Any]) -> Callable[..., Any]:
    """Run a plain `def` route on the CPU lane. Goes under `@router.get(...)`; the route's own parameters stay as they are."""
    if inspect.iscoroutinefunction(job):
        raise TypeError(f"{job.__qualname__} is async: the CPU lane runs plain functions")

    @wraps(job)
    async def on_lane(*args: Any, cpu_lane: CpuLane, **kwargs: Any) -> Any:
        return await cpu_lane.run(job, *args, **kwargs)

    signature = inspect.signature(job)
    lane = inspect.Parameter("cpu_lane", inspect.Parameter.KEYWORD_ONLY, annotation=Lane)
    on_lane.__dict__["__signature__"] = signature.replace(parameters=[*signature.parameters.values(), lane])
    return on_lane
