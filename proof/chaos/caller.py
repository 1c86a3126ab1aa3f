"""A service that calls other hosts, because the sample calls none: a project of one route, started beside the sample."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from proof.prove.small_project import write_project
from proof.prove.stage import Staging, own_services

TIMEOUT_S = 1.0
"""Seconds of a call."""
FEATURE = """
from fastapi import APIRouter

from brigade import Http

router = APIRouter()


@router.get("/ask/{port}")
async def ask(port: int, http: Http) -> int:
    return (await http.get(f"http://127.0.0.1:{port}/")).status
"""


@asynccontextmanager
async def caller(folder: Path) -> AsyncIterator[str]:
    """Yield the URL of the service, which has one worker and servers of its own."""
    staging = Staging(write_project(folder, FEATURE), {"HTTP_TIMEOUT_S": f"{TIMEOUT_S:g}"})
    with ExitStack() as stack:
        services = await asyncio.to_thread(stack.enter_context, own_services({1}, staging))
        try:
            yield services.url(1)
        finally:
            await asyncio.to_thread(stack.close)
