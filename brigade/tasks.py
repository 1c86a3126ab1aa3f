"""Background tasks of a lifespan: they survive every error, and they end when they are told to."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from typing import Any
from weakref import WeakKeyDictionary

import structlog

from brigade.cancellation import is_being_cancelled, must_end
from brigade.errors import Unavailable
from brigade.telemetry.log_throttle import LogThrottle
from brigade.telemetry.metrics import counter

CANCEL_EVERY_S = 0.1
FINISH_WITHIN_S = 1.0
"""A step that is under way has so long when its task is told to end. Cancelled while it connects, asyncpg and redis-py leave
connections and futures behind that nobody closes.
"""
MAX_BACKOFF_S = 30.0

__all__ = ["LogThrottle", "end", "supervised"]

log = structlog.get_logger("service.tasks")

_told_to_end: "WeakKeyDictionary[asyncio.Task[Any], asyncio.Event]" = WeakKeyDictionary()

FAILURES = counter("background_task_failures", "Errors that a background task survived.", ["task"])


def supervised(name: str, step: Callable[[], Awaitable[object]], *, every_s: float) -> asyncio.Task[None]:
    """Start a task that awaits `step()`, waits for `every_s`, and does so again until it is cancelled.

    No exception ends the task. An `Unavailable` means that a store is away, which the store's own metrics say, so the
    next step follows as usual. Any other exception is logged (at most every 10 s), counted in
    `background_task_failures_total{task=name}`, and followed by a pause that doubles up to 30 s.
    """
    FAILURES.labels(name)  # exported as 0 from the start, so that an alert sees the first failure
    told = asyncio.Event()
    # In a context of its own, or a request that starts it would have all its work in the request's trace and log lines.
    task = asyncio.create_task(_repeat(name, step, every_s, told), name=name, context=Context())
    _told_to_end[task] = told
    return task


async def _repeat(name: str, step: Callable[[], Awaitable[object]], every_s: float, told: asyncio.Event) -> None:
    throttle, failures_in_a_row = LogThrottle(), 0
    while not told.is_set():
        try:
            await step()
        except Unavailable:
            failures_in_a_row = 0
        except BaseException as error:
            if must_end(error):
                raise
            failures_in_a_row += 1
            FAILURES.labels(name).inc()
            if (left_out := throttle.admit(type(error).__name__)) is not None:
                log.exception("background task failed and goes on", task=name, left_out=left_out)
        else:
            failures_in_a_row = 0
        if is_being_cancelled():  # asyncpg and redis-py may lose a cancellation, or make another error of it
            raise asyncio.CancelledError
        with suppress(TimeoutError):
            await asyncio.wait_for(told.wait(), _pause_s(every_s, failures_in_a_row))


def _pause_s(every_s: float, failures_in_a_row: int) -> float:
    return min(every_s * float(1 << min(failures_in_a_row, 10)), max(every_s, MAX_BACKOFF_S))


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Let supervised tasks finish the step they are at, for a second; then cancel, and wait until each has ended.

    A cancellation can be lost: redis-py lost some that came while it opened a connection, and a worker that was told to
    stop right after its start then hung until it was killed. Tasks that have not ended are therefore cancelled again.
    """
    steps = [task for task in tasks if task in _told_to_end]
    for task in steps:
        _told_to_end[task].set()
    if steps:
        await asyncio.wait(steps, timeout=FINISH_WITHIN_S)
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_EVERY_S)
