"""An ASGI application whose every answer says which request it answers, and which counts what the service has answered."""

import asyncio
import json
from collections import Counter
from typing import Any

from brigade.server.lifecycle import lifecycle

served: Counter[str] = Counter()
"""Requests that the application answered, by path."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        scope["state"]["service.probe_paths"] = frozenset({"/counts"})
        for stage in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{stage}.complete"})
    elif scope["path"] == "/counts":
        await _answer(send, "/counts", json.dumps({"served": served, "refused": lifecycle.refused.total()}).encode())
    else:
        while (await receive()).get("more_body"):
            pass
        if scope["path"] == "/hold":
            await asyncio.sleep(3600)
        served[scope["path"]] += 1
        await _answer(send, scope["path"], b"echo")


async def _answer(send: Any, path: str, body: bytes) -> None:
    headers = [(b"x-served", path.encode()), (b"x-frame-options", b"DENY"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
