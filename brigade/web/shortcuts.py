"""Answers hot requests without a task: from the callback of the lookup that they share with others.

To make a task, to resume it and to switch its context is half of what a small request costs. A request has one if somebody
who watches draws it, or if the lookup alone does not answer it.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from opentelemetry.trace import Span
from starlette.types import Message, Scope

from brigade.telemetry import metrics, tracing
from brigade.telemetry.logs import log_access
from brigade.telemetry.loop_watch.stacks import is_layer
from brigade.web.client_address import ClientAddress
from brigade.web.hot import ATTEMPT, Attempt, HotPaths, Shortcut
from brigade.web.observe import Observe, identify

is_layer(__file__)

Finish = Callable[[Message | None], bool]
"""Writes a whole answer or, without one, starts the task after all. False where the client has gone."""


class _Begun(NamedTuple):
    """A request whose lookup is under way."""

    scope: Scope
    shortcut: Shortcut
    finish: Finish
    began_s: float
    span: Span | None


class Shortcuts:
    """Does for these requests what `Observe` does for all others."""

    def __init__(self, paths: HotPaths, observe: Observe, *, trusted_proxies: str, cors: bool = False) -> None:
        self.paths = paths
        self.observe = observe
        self.stats = observe.stats
        self._cors = cors
        # As the layer says of every other answer: a cache must not give a page of another origin this one.
        self._vary = [(b"vary", b"Origin")] if cors else []
        self._address = ClientAddress(trusted_proxies)

    def begin(self, scope: Scope, finish: Finish) -> bool:
        """Whether `finish` will be called, later; else the request needs a task now."""
        route = self.paths.find(scope)
        if route is None or route.shortcut is None or (self.stats.draws is not None and self.stats.draws()):
            return False
        if self._cors and any(name == b"origin" for name, _ in scope["headers"]):
            return False  # the layer that answers pages of other origins is on the way of a task
        span = tracing.begin_request(scope, route.path) if tracing.is_on() else None
        begun = _Begun(scope, route.shortcut, finish, time.perf_counter(), span)
        try:
            lookup = tracing.within(span, route.shortcut.look_up, scope) if span else route.shortcut.look_up(scope)
            if lookup is None:
                return self._leave(begun)
            lookup.add_done_callback(partial(self._end, begun))
        except Exception:  # noqa: BLE001 - the handler meets it again, where it is answered and logged
            return self._leave(begun)
        self.stats.in_flight += 1
        return True

    def _end(self, begun: _Begun, lookup: "asyncio.Future[Any]") -> None:
        self.stats.in_flight -= 1
        found_s = time.perf_counter()
        # An exception that is raised here holds this frame, with the connection, for as long as somebody holds it.
        found = not lookup.cancelled() and lookup.exception() is None
        try:
            message = begun.shortcut.reply(begun.scope, lookup.result()) if found else None
            answered = message is not None and self._answer(begun, message, found_s)
        except Exception:  # noqa: BLE001 - the same here
            answered = False
        if answered:
            return
        if not lookup.cancelled():
            begun.scope[ATTEMPT] = Attempt(lookup, begun.began_s)
        self._leave(begun)
        if not begun.finish(None):
            metrics.abandoned.total += 1
            self.stats.requests_total += 1
            self._log(begun, identify(begun.scope), 0, found_s, time.perf_counter() - begun.began_s)

    def _answer(self, begun: _Begun, message: Message, found_s: float) -> bool:
        scope, status = begun.scope, message["status"]
        route = self.stats.of_route(scope)
        identifier = identify(scope)
        message["headers"].extend([*self.observe.headers(identifier, status), *self._vary])
        message["before"].append(route.counting(status))
        if not begun.finish(message):
            return False
        duration_s = time.perf_counter() - begun.began_s
        route.durations.add(duration_s)
        self.stats.requests_total += 1
        self._log(begun, identifier, status, found_s, duration_s)
        if begun.span is not None:
            tracing.end_request(begun.span, status, begun.began_s, found_s)
        return True

    def _log(self, begun: _Begun, identifier: bytes, status: int, found_s: float, duration_s: float) -> None:
        scope = begun.scope
        if status >= 500 or self.observe.samples(scope):
            scope["client"] = self._address.of(scope)
            waited: dict[tracing.Kind, float] = {begun.shortcut.waits_for: found_s - begun.began_s}
            log_access(scope, identifier, status, duration_s, waited, span=begun.span)

    @staticmethod
    def _leave(begun: _Begun) -> bool:
        """Leave it to a task, whose span is then a part of this one."""
        if begun.span is not None:
            tracing.hand_over(begun.span, begun.scope)
        return False
