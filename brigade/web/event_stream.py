"""`EventStream`: an answer of server-sent events, which lasts as long as its client listens, or until the worker leaves."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from functools import partial

from fastapi.encoders import jsonable_encoder
from fastapi.sse import KEEPALIVE_COMMENT, ServerSentEvent, format_sse_event
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from brigade.cancellation import must_end
from brigade.server.lifecycle import lifecycle
from brigade.server.streams import ABANDONED_S, streams
from brigade.web.problems import render
from brigade.web.streams import crowded

HOLD = "service.hold"
"""The ASGI extension of brigade.server.admission: the answer is a stream, and no longer a request in flight."""
PING_S = 15.0
"""Seconds between comments that keep proxies from ending a stream."""
RETRY_MS = (500, 2500)
"""Milliseconds until a client connects again, a random number for each so that they do not all do so at once."""


class EventStream(Response):
    """Return it from a route, with an asynchronous generator of events.

    The worker that holds it may leave: then the generator is cancelled, and the stream ends with a `retry:`, at which a
    browser connects again by itself, with the last `id` that it saw in `Last-Event-ID`.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncIterator[ServerSentEvent], headers: Mapping[str, str] | None = None, status_code: int = 200
    ) -> None:
        """Make the answer. FastAPI documents the default of `status_code` where this is a route's `response_class`."""
        self._events = events
        own = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Connection": "close"}
        super().__init__(None, status_code, headers={**own, **(headers or {})})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reason = crowded(scope["app"].settings.max_streams)
        if reason is not None and not lifecycle.leaving:  # a worker that leaves says `retry:`, and ends it
            streams.refused["crowded"] += 1
            await render(reason)(scope, receive, send)
            return
        stats = scope["app"].stats
        scope["held"] = True
        with streams.held("events"):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            stats.in_flight -= 1
            scope.get("extensions", {}).get(HOLD, _nothing)()
            try:
                await self._stream(receive, send)
            finally:
                stats.in_flight += 1  # as the layer that counts it expects

    async def _stream(self, receive: Receive, send: Send) -> None:
        retry = format_sse_event(retry=random.randint(*RETRY_MS))  # noqa: S311
        await send(_part(retry))
        if not lifecycle.leaving:
            pump = asyncio.create_task(self._pump(send))
            gone = asyncio.create_task(_until_gone(receive))
            streams.join(self, partial(_cancel, pump))
            try:
                while not (await asyncio.wait({pump, gone}, timeout=PING_S, return_when="FIRST_COMPLETED"))[0]:
                    await send(_part(KEEPALIVE_COMMENT))
            finally:
                streams.leave(self)
                await _end(pump, gone)
            if pump.done() and not pump.cancelled():
                pump.result()
            await send(_part(retry))
        await send({"type": "http.response.body", "body": b""})

    async def _pump(self, send: Send) -> None:
        try:
            async for event in self._events:
                await send(_part(_as_bytes(event)))
        except BaseException as error:
            if isinstance(error, Exception) or must_end(error):
                raise
            raise RuntimeError(f"The events ended with {error!r}.") from error  # of a task it would end the worker


def _as_bytes(event: ServerSentEvent) -> bytes:
    data = event.raw_data
    if data is None and event.data is not None:
        data = json.dumps(jsonable_encoder(event.data))
    return format_sse_event(data_str=data, event=event.event, id=event.id, retry=event.retry, comment=event.comment)


def _part(body: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()


async def _end(*tasks: "asyncio.Task[None]") -> None:
    """Cancel the tasks, again and again, because a library may lose a cancellation, and wait until each has ended."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=ABANDONED_S)


def _nothing() -> None:
    """Stands for a server that does not count requests in flight."""
