"""The seconds that the current request has left. This module loads nothing, because every request passes it."""

import asyncio
from contextvars import ContextVar
from typing import Protocol

ANSWER_MARGIN_S = 0.05
"""Seconds left to the route after a call has timed out, so that it can still answer by itself."""


class Deadline(Protocol):
    def when(self) -> float | None:
        """Return when it passes, by the clock of the loop, or None if it does not."""


request_deadline: ContextVar[Deadline | None] = ContextVar("request_deadline", default=None)
"""Unset outside requests. Its time is None once the answer has begun."""


def cut_to_request(timeout_s: float) -> float:
    """Return `timeout_s`, or what the current request has left if that is less."""
    deadline = request_deadline.get()
    until_s = deadline.when() if deadline is not None else None
    if until_s is None:
        return timeout_s
    return max(0.0, min(timeout_s, until_s - asyncio.get_running_loop().time() - ANSWER_MARGIN_S))
