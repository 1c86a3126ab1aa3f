"""A request finds the route that FastAPI's own search would find, and without that search."""

import sys
from collections import Counter
from types import FrameType
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.routing import iter_route_contexts
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from brigade.web.direct import DirectRoutes

pytestmark = pytest.mark.anyio


async def mark(request: Request) -> None:
    request.state.marked = "by the router"


def told(request: Request, name: str) -> dict[str, Any]:
    scope = request.scope
    return {
        "name": name,
        "path_params": scope["path_params"],
        "route": scope["route"].path,
        "marked": getattr(request.state, "marked", ""),
        "endpoint": scope["endpoint"].__name__,
    }


async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(f"mounted {scope['root_path']}")(scope, receive, send)


def service() -> FastAPI:
    inner, outer, late = (
        APIRouter(prefix="/inner"),
        APIRouter(prefix="/outer", dependencies=[Depends(mark)]),
        APIRouter(),
    )

    @inner.get("/{number:int}")
    async def by_number(number: int, request: Request) -> dict[str, Any]:
        return told(request, f"number {number}")

    @inner.get("/{text}")
    async def by_text(text: str, request: Request) -> dict[str, Any]:
        return told(request, f"text {text}")

    @inner.get("/fixed")  # behind the route that has its path, too
    async def hidden(request: Request) -> dict[str, Any]:
        return told(request, "hidden")

    @outer.post("/inner/fixed")
    async def post(request: Request) -> dict[str, Any]:
        return told(request, "post")

    @late.get("/mounted/never")
    async def behind_the_mount(request: Request) -> dict[str, Any]:
        return told(request, "never")

    app = FastAPI()
    outer.include_router(inner)
    app.include_router(outer, prefix="/v1")
    app.mount("/mounted", mounted)
    app.include_router(late)
    return app


PATHS = (
    "/v1/outer/inner/7", "/v1/outer/inner/seven", "/v1/outer/inner/fixed", "/v1/outer/inner/a%2Fb",
    "/v1/outer/inner/seven/", "/mounted/never", "/mounted", "/nothing", "/docs", "/openapi.json", "/",
)  # fmt: skip


async def answers(app: FastAPI) -> list[tuple[str, int, str, str | None]]:
    found = []
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
        for path in PATHS:
            for method in ("GET", "POST", "PUT", "HEAD"):
                answer = await client.request(method, path)
                found.append((f"{method} {path}", answer.status_code, answer.text, answer.headers.get("location")))
    return found


def directly() -> FastAPI:
    app = service()
    app.router.routes.insert(0, DirectRoutes(iter_route_contexts(app.routes)))
    return app


async def test_the_same_route_serves_each_request() -> None:
    expected = await answers(service())
    assert {200, 307, 404, 405} <= {status for _, status, _, _ in expected}
    assert await answers(directly()) == expected


async def test_fastapi_does_not_search() -> None:
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.endswith("fastapi/routing.py"):
            calls[frame.f_code.co_name] += 1

    app = directly()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
        sys.setprofile(count)
        try:
            answer = await client.get("/v1/outer/inner/7")
        finally:
            sys.setprofile(None)
    assert answer.status_code == 200
    assert calls["run_endpoint_function"]
    assert not {"_match", "matches", "_handle_selected"} & set(calls)
