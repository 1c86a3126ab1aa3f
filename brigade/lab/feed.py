"""The steps of this worker's requests, published to Redis while somebody watches.

While nobody watches, it asks once a second whether somebody has started to, and requests do nothing for it.
"""

import asyncio
import json
import time
import types
from collections.abc import Coroutine, Generator
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brigade.lab.cache import LabCache
from brigade.lab.deps import WORKER
from brigade.resources import Resources
from brigade.telemetry.logs import request_id
from brigade.telemetry.loop_watch.causes import MENDS

LOOK_EVERY_S = 1.0
PUBLISH_EVERY_S = 0.2
MAX_TRACES = 150
"""Requests in one message, which then has about 30 kB. Further requests are counted and not drawn."""
SHORTEST_S = 0.001
"""Less would not be seen."""
UNTRACED = ("/lab/events", "/lab/page/", "/livez", "/readyz", "/metrics", "/workers")

_EPOCH_S = time.time() - time.perf_counter()


def _ms(clock_s: float) -> float:
    return round((_EPOCH_S + clock_s) * 1000, 1)


@dataclass(slots=True)
class Trace:
    id: str
    method: str
    path: str
    began_s: float
    ended_s: float | None = None
    status: int = 0
    steps: list[tuple[str, float, float]] = field(default_factory=list)

    def take(self) -> dict[str, Any]:
        """Return what is new in it, and forget its steps."""
        steps, self.steps = self.steps, []
        told = {
            "id": self.id,
            "method": self.method,
            "path": self.path,
            "from": _ms(self.began_s),
            "status": self.status,
        }
        told["to"] = _ms(self.ended_s) if self.ended_s else None
        return told | {"steps": [(kind, _ms(began_s), _ms(ended_s)) for kind, began_s, ended_s in steps]}


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def mark(kind: str, began_s: float, ended_s: float) -> None:
    """Note where the current request was meanwhile. Any thread that works in its context may call this."""
    if ended_s - began_s > SHORTEST_S and (trace := _current.get()) is not None:
        trace.steps.append((kind, began_s, ended_s))


@types.coroutine
def _stepwise(call: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
    """Await `call`, and mark each time the loop runs it."""
    step, argument = call.send, None
    while True:
        began_s = time.perf_counter()
        try:
            waits_for = step(argument)
        except StopIteration:
            return
        finally:
            mark("loop", began_s, time.perf_counter())
        try:
            step, argument = call.send, (yield waits_for)
        except BaseException as error:  # noqa: BLE001 - the call's own business, a cancellation say
            step, argument = call.throw, error


class Feed:
    def __init__(self, resources: Resources, cache: LabCache) -> None:
        self.resources = resources
        self.cache = cache
        self._changed: dict[int, Trace] = {}
        self._told_incidents = self._count = 0

    async def look(self) -> None:
        """Publish for as long as somebody watches."""
        if await self.cache.is_watched():
            await self._publish_while_watched()

    async def _publish_while_watched(self) -> None:
        resources = self.resources
        self._told_incidents = 0
        resources.stats.trace, resources.stats.draws = self._traced, self._draws
        resources.lane.trace = partial(mark, "lane")
        try:
            while await self.cache.publish(json.dumps(self._news())):  # noqa: ASYNC110 - Redis sets no event
                await asyncio.sleep(PUBLISH_EVERY_S)
        finally:
            resources.stats.trace = resources.stats.draws = resources.lane.trace = None
            self._changed.clear()

    def _news(self) -> dict[str, Any]:
        changed, self._changed = self._changed, {}
        count, self._count = self._count, 0
        watch = self.resources.loop_watch
        since = -round(PUBLISH_EVERY_S / watch.interval_s)
        total, incidents = watch.watchdog.incidents_total.total(), list(watch.watchdog.incidents)
        new = incidents[max(0, len(incidents) - (total - self._told_incidents)) :]
        self._told_incidents = total
        return {
            "worker": WORKER,
            "now": _ms(time.perf_counter()),
            "lag_ms": round(max(list(watch.lags_ms)[since:], default=0.0), 1),
            "count": count,
            "requests": [trace.take() for trace in changed.values()],
            "incidents": [asdict(incident) | {"mend": MENDS[incident.cause]} for incident in new],
        }

    def _draws(self) -> bool:
        """Hot requests need a task to be drawn. There are many more of them than can be."""
        if len(self._changed) < MAX_TRACES:
            return True
        self._count += 1
        return False

    def _traced(self, app: ASGIApp) -> ASGIApp:
        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"].startswith(UNTRACED):
                return await app(scope, receive, send)
            self._count += 1
            if len(self._changed) >= MAX_TRACES:
                return await app(scope, receive, send)
            trace = Trace(request_id.get(), scope["method"], scope["path"], time.perf_counter())
            self._changed[id(trace)] = trace
            _current.set(trace)

            async def send_noted(message: Message) -> None:
                trace.status = message.get("status", trace.status)
                await send(message)

            try:
                await _stepwise(app(scope, receive, send_noted))  # type: ignore[arg-type]
            finally:
                trace.ended_s = time.perf_counter()
                self._changed[id(trace)] = trace

        return traced
