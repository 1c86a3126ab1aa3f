"""Answers hot requests without a task: from the callback of the lookup that they share with others.

To make a task, to resume it and to switch its context is half of what a small request costs. What needs one has one: a
request that is logged or traced, that somebody watches, or that the lookup alone does not answer.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.types import Message, Scope

from brigade.telemetry import metrics, tracing
from brigade.web.hot import ATTEMPT, Attempt, HotPaths, Shortcut
from brigade.web.observe import Observe, identify

Finish = Callable[[Message | None], bool]
"""Writes a whole answer or, without one, starts the task after all. False where the client has gone."""


class Shortcuts:
    """Does for these requests what `Observe` does for all others, but for the log."""

    def __init__(self, paths: HotPaths, observe: Observe) -> None:
        self.paths = paths
        self.observe = observe
        self.stats = observe.stats

    def lead_to(self, path: str) -> bool:
        """Whether a GET of `path` may need no task: then also a worker that is full of them should `begin` it."""
        route = self.paths.routes.get(path.rpartition("/")[0])
        return route is not None and route.shortcut is not None and self.observe.sample < 1 and not self._is_watched()

    def _is_watched(self) -> bool:
        return self.stats.trace is not None or tracing.is_on()

    def begin(self, scope: Scope, finish: Finish) -> bool:
        """Whether `finish` will be called, later; else the request needs a task now."""
        if self._is_watched() or self.observe.samples(scope):
            return False
        route = self.paths.find(scope)
        if route is None or route.shortcut is None:
            return False
        began_s = time.perf_counter()
        try:
            lookup = route.shortcut.look_up(scope)
            if lookup is None:
                return False
            lookup.add_done_callback(partial(self._end, scope, route.shortcut, began_s, finish))
        except Exception:  # noqa: BLE001 - the handler meets it again, where it is answered and logged
            return False
        self.stats.in_flight += 1
        return True

    def _end(
        self, scope: Scope, shortcut: Shortcut, began_s: float, finish: Finish, lookup: "asyncio.Future[Any]"
    ) -> None:
        self.stats.in_flight -= 1
        # An exception that is raised here holds this frame, with the connection, for as long as somebody holds it.
        found = not lookup.cancelled() and lookup.exception() is None
        try:
            answered = found and self._answer(scope, shortcut.reply(scope, lookup.result()), began_s, finish)
        except Exception:  # noqa: BLE001 - likewise
            answered = False
        if not answered:
            if not lookup.cancelled():
                scope[ATTEMPT] = Attempt(lookup, began_s)
            if not finish(None):
                metrics.abandoned.total += 1
                self.stats.requests_total += 1

    def _answer(self, scope: Scope, message: Message | None, began_s: float, finish: Finish) -> bool:
        if message is None:
            return False
        route = self.stats.of_route(scope)
        message["headers"].extend(self.observe.headers(identify(scope), message["status"]))
        message["before"].append(route.counting(message["status"]))
        if not finish(message):
            return False
        route.durations.add(time.perf_counter() - began_s)
        self.stats.requests_total += 1
        return True
