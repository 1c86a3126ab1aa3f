"""The live page, its parts, and the stream of events it draws. What it shows was told to Redis by the workers."""

import asyncio
import mimetypes
from collections.abc import AsyncIterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from brigade.deps import AllResources
from brigade.errors import CacheUnavailable, Problem
from brigade.lab.cache import recently
from brigade.lab.deps import Lab, LabViewer
from brigade.lab.jobs import offered
from brigade.lab.routes import router as experiments
from brigade.lab.source import sources
from brigade.resources import Resources
from brigade.server.lifecycle import lifecycle
from brigade.web.etag import is_known

POLL_EVERY_S = 0.2
STATES_EVERY = 2
"""Polls; a lane goes at most this much later than `/workers` forgets its worker."""
RECONNECT_AFTER_MS = 300

FILES = {path.name: path.read_bytes() for path in (Path(__file__).parent / "page").iterdir()}
ETAG = f'"{sha256(b"".join(FILES[name] for name in sorted(FILES))).hexdigest()[:16]}"'
HEADERS = {
    "Cache-Control": "no-cache",  # kept, and asked for each time whether it is still the same
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "ETag": ETAG,
}

router = APIRouter(prefix="/lab")


class NoSuchFile(Problem):
    status, title = 404, "Not Found"


def _file(name: str, request: Request) -> Response:
    if is_known(", ".join(request.headers.getlist("if-none-match")), ETAG):
        return Response(status_code=304, headers=HEADERS)
    return Response(FILES[name], headers=HEADERS, media_type=mimetypes.guess_type(name)[0])


@router.get("", response_class=Response, responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}})
async def read_page(request: Request) -> Response:
    """The live page: every worker of every replica as it works. While the lab is off, how to turn it on."""
    return _file("index.html" if request.state.lab else "off.html", request)


@router.get("/page/{name}", response_class=Response, include_in_schema=False)
async def read_part(name: str, request: Request) -> Response:
    if name not in FILES:
        raise NoSuchFile
    return _file(name, request)


@router.get("/events", response_class=EventSourceResponse)
async def follow_events(
    request: Request,
    lab: LabViewer,
    resources: AllResources,
    last_event_id: Annotated[str | None, Header(pattern=r"^\d+-\d+$")] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Stream what all workers do to the live page, as server-sent events: `plan` once, `workers` every 0.4 s, `work`.

    The workers tell it only while somebody follows. The stream ends when this worker leaves; any other goes on with it.
    """
    plan = await asyncio.to_thread(_plan, resources)  # which reads files the first time
    yield ServerSentEvent(event="plan", data=plan, retry=RECONNECT_AFTER_MS)
    after, polls = last_event_id or recently(5), 0
    while not lifecycle.leaving:
        if polls % STATES_EVERY == 0:
            workers, complete = await request.state.registry.workers()
            yield ServerSentEvent(event="workers", data={"complete": complete, "workers": workers})
        for identifier, event in await _news(lab, after):
            yield ServerSentEvent(event="work", id=identifier, raw_data=event)
            after = identifier
        polls += 1
        await asyncio.sleep(POLL_EVERY_S)


def _plan(resources: Resources) -> dict[str, Any]:
    return {
        "plan": resources.plan.as_json(),
        "blocked_ms": resources.settings.loop_blocked_ms,
        "jobs": offered() is not None,
        "sources": _sources(),
    }


@cache
def _sources() -> dict[str, list[str]]:
    """Return the code of the experiments, read when the page is first looked at: most services start without the lab."""
    return sources(experiments.routes)


async def _news(lab: Lab, after: str) -> list[tuple[str, str]]:
    try:
        return await lab.cache.watch(after)
    except CacheUnavailable:
        return []  # `workers` says so
