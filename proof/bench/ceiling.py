"""The ceiling: what the server does when the application only answers one redirect."""

from typing import Any

START = {
    "type": "http.response.start",
    "status": 307,
    "headers": [(b"location", b"https://example.com/where/it/leads"), (b"content-length", b"0")],
}
BODY = {"type": "http.response.body"}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send(START)
    await send(BODY)
