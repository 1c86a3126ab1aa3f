"""The clicks of a link as they happen, by a WebSocket or as server-sent events. One look-up a worker, however many watch."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, WebSocket
from fastapi.sse import ServerSentEvent

from brigade import EventStream, limit_address
from brigade.stores import Pool
from brigade.tasks import end, supervised
from service.features.links.resolve import Resolver
from service.features.links.schemas import Code
from service.features.links.store import read_links

LOOK_EVERY_S = 0.5

router = APIRouter(tags=["links"], dependencies=[Depends(limit_address)])
CodeInPath = Annotated[Code, Path(description="The code of a link.")]


class Watch:
    """The news for one client: the newest number of clicks alone, however slowly it reads."""

    def __init__(self) -> None:
        self.clicks: int | None = 0
        """None once the link is deleted."""
        self.changed = asyncio.Event()


class Live:
    """The links that clients of this worker watch. While nobody does, nothing looks."""

    def __init__(self, pg: Pool) -> None:
        self._pg = pg
        self._watches: dict[str, set[Watch]] = {}
        self._task: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._task is not None:
            await end(self._task)

    async def follow(self, code: str, clicks: int) -> AsyncIterator[int]:
        """Yield the clicks of a link, `clicks` first, and again whenever there are more; until it is deleted."""
        with self._watching(code) as watch:
            yield clicks
            while True:
                await watch.changed.wait()
                watch.changed.clear()
                if watch.clicks is None:
                    return
                if watch.clicks != clicks:
                    yield (clicks := watch.clicks)

    @contextmanager
    def _watching(self, code: str) -> Iterator[Watch]:
        watch = Watch()
        self._watches.setdefault(code, set()).add(watch)
        if self._task is None:
            self._task = supervised("links_live", self._look, every_s=LOOK_EVERY_S)
        try:
            yield watch
        finally:
            self._watches[code].discard(watch)
            if not self._watches[code]:
                del self._watches[code]
            if not self._watches and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _look(self) -> None:
        codes = list(self._watches)
        found = await read_links(self._pg, codes)
        for code in codes:
            link = found.get(code)
            for watch in self._watches.get(code, ()):
                watch.clicks = link.clicks if link is not None else None
                watch.changed.set()


@router.get("/links/{code}/live", include_in_schema=False)  # clients that are made of the schema read to the end
async def follow_clicks(code: CodeInPath, request: Request) -> EventStream:
    """Tell the clicks of a link as they happen, as server-sent events. The number now comes first."""
    resolver: Resolver = request.state.resolver
    live: Live = request.state.live
    link = await resolver.read(code)

    async def events() -> AsyncIterator[ServerSentEvent]:
        async for clicks in live.follow(code, link.clicks):
            yield ServerSentEvent(event="clicks", data={"code": code, "clicks": clicks}, id=str(clicks))

    return EventStream(events())


@router.websocket("/links/{code}/live")
async def watch_clicks(code: CodeInPath, socket: WebSocket) -> None:
    """Tell them by a WebSocket. What the client says is read and ignored, because the pongs and the close behind it would wait."""
    resolver: Resolver = socket.state.resolver
    live: Live = socket.state.live
    link = await resolver.read(code)
    await socket.accept()
    ignoring = asyncio.create_task(_ignore_messages(socket))
    try:
        async for clicks in live.follow(code, link.clicks):
            await socket.send_json({"code": code, "clicks": clicks})
    finally:
        await end(ignoring)


async def _ignore_messages(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
