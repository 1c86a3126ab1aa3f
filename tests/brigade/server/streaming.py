"""A service of WebSockets and event streams for the tests, without a store."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fastapi import APIRouter, Depends, WebSocket
from fastapi.sse import ServerSentEvent

from brigade import Brigade, EventStream, load_settings, require_key
from brigade.server.admission import admission
from brigade.server.lifecycle import lifecycle
from brigade.server.streams import streams

router = APIRouter()


@router.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


@router.websocket("/keyed", dependencies=[Depends(require_key)])
async def keyed(socket: WebSocket) -> None:
    await socket.accept()


@router.websocket("/numbered/{number}")
async def numbered(socket: WebSocket, number: int) -> None:
    """It opens for no number."""
    await socket.close(1008, f"There is no {number}.")


@router.websocket("/deaf")
async def never_receives(socket: WebSocket) -> None:
    """It learns nothing of its client's end."""
    await socket.accept()
    await asyncio.sleep(600)


@router.websocket("/stubborn")
async def stubborn(socket: WebSocket) -> None:
    await socket.accept()
    await lose_a_cancellation()


@router.websocket("/hesitant")
async def hesitant(socket: WebSocket) -> None:
    """It opens when its worker leaves."""
    while not lifecycle.leaving:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)
    await socket.accept()


@router.websocket("/undecided")
async def undecided(_: WebSocket) -> None:
    await asyncio.sleep(600)


@router.websocket("/silent")
async def neither_accepts_nor_closes(_: WebSocket) -> None:
    pass


@router.websocket("/split")
async def accepts_with_a_header_that_no_server_sends(socket: WebSocket) -> None:
    await socket.accept(headers=[(b"x-name", b"a\r\nx-other: b")])


@router.websocket("/wrong-code")
async def closes_with_a_code_that_nobody_has(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close(99)


@router.websocket("/flood")
async def flood(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send_bytes(bytes(60_000))


@router.websocket("/once")
async def once(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("once")


@router.websocket("/broken")
async def broken(socket: WebSocket) -> None:
    await socket.accept()
    raise ZeroDivisionError


@router.websocket("/exit")
async def leave(socket: WebSocket) -> None:
    await socket.accept()
    sys.exit("no more")


@router.get("/events")
async def events(n: int = 0) -> EventStream:
    async def tick() -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent(data={"pid": os.getpid()}, id="1")
        for number in range(n):
            yield ServerSentEvent(data=number)
        if not n:
            await asyncio.sleep(600)

    return EventStream(tick())


@router.get("/flood-events")
async def flood_events() -> EventStream:
    async def tick() -> AsyncIterator[ServerSentEvent]:
        while True:
            yield ServerSentEvent(data="a" * 60_000)

    return EventStream(tick())


@router.get("/stubborn-events")
async def stubborn_events() -> EventStream:
    async def tick() -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent(data=1)
        await lose_a_cancellation()

    return EventStream(tick())


async def lose_a_cancellation() -> None:
    """Wait, and wait again when that is cancelled."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(600)
    await asyncio.sleep(600)


@router.get("/exit-events")
async def exit_events() -> EventStream:
    async def leave() -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent(data=1)
        sys.exit("no more")

    return EventStream(leave())


@router.get("/state")
async def state() -> dict[str, int]:
    return {"streams": streams.count, "under_way": admission.under_way, "connections": lifecycle.connections}


@router.get("/")
async def root() -> str:
    return "here"


class Streaming(Brigade):
    """The real one, but for its lifespan, which needs stores."""

    engine_routers = ()


@asynccontextmanager
async def _live(app: Any) -> AsyncIterator[dict[str, Any]]:
    app.middleware_stack = app.build_middleware_stack()
    app.telemetry = False
    app.state.resources, app.state.allowance = SimpleNamespace(settings=app.settings), None
    _note("started")
    yield {"service.has_websocket": app.websockets.has}
    _note("ended")


def _note(event: str) -> None:
    with Path(os.environ["EVENTS"]).open("a") as file:
        file.write(f"{event} {os.getpid()}\n")


class _Feature:
    router = router


app = Streaming(load_settings(), features=[_Feature()])
app.router.lifespan_context = _live
