"""A service that calls other hosts, because the sample calls none: a project of one route, started beside the sample."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from proof.prove.stage import Staging, own_services

TIMEOUT_S = 1.0
"""Seconds of a call."""
FILES = {
    "pyproject.toml": '[tool.brigade]\npackage = "caller"\n',
    "caller/__init__.py": "",
    "caller/__main__.py": """
import sys
from pathlib import Path

import brigade
from brigade.cli import main

sys.exit(main("caller.main:create_app", settings=brigade.Settings, features=Path(__file__).parent / "features"))
""",
    "caller/main.py": """
import brigade
from caller.features import ask


def create_app(settings=None):
    return brigade.Brigade(settings or brigade.load_settings(brigade.Settings), title="Caller", features=[ask])
""",
    "caller/features/__init__.py": "",
    "caller/features/ask/__init__.py": """
from fastapi import APIRouter

from brigade import Http

router = APIRouter()


@router.get("/ask/{port}")
async def ask(port: int, http: Http) -> int:
    return (await http.get(f"http://127.0.0.1:{port}/")).status
""",
}


@asynccontextmanager
async def caller(folder: Path) -> AsyncIterator[str]:
    """Yield the URL of the service, which has one worker and servers of its own."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    staging = Staging(folder, {"HTTP_TIMEOUT_S": f"{TIMEOUT_S:g}"})
    with ExitStack() as stack:
        services = await asyncio.to_thread(stack.enter_context, own_services({1}, staging))
        try:
            yield services.url(1)
        finally:
            await asyncio.to_thread(stack.close)
