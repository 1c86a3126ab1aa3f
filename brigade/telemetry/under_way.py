"""The request that each task works on, for observers of the event loop from outside it."""

import asyncio
from collections.abc import MutableMapping
from typing import Any, NamedTuple

_Task = asyncio.Task[Any]


class Request(NamedTuple):
    method: str
    path: str
    id: str


_requests: dict[_Task, tuple[MutableMapping[str, Any], bytes]] = {}


def begin(scope: MutableMapping[str, Any], identifier: bytes) -> _Task | None:
    """Note that the current task works on a request. Give what this returns to `end`."""
    if (task := asyncio.current_task()) is not None:
        _requests[task] = scope, identifier
    return task


def end(task: _Task | None) -> None:
    if task is not None:
        _requests.pop(task, None)


def request_of(loop: asyncio.AbstractEventLoop) -> Request | None:
    """Tell what `loop` works on at this moment, from another thread."""
    task = asyncio.current_task(loop)
    found = _requests.get(task) if task is not None else None
    if found is None:
        return None
    scope, identifier = found
    return Request(scope["method"], scope["path"], identifier.decode())
