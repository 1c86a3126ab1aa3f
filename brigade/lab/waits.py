"""Four kinds of I/O that each really take as long as they are told, on the other side of a real connection or file."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import anyio.to_thread
from starlette.requests import Request

from brigade.errors import Unavailable
from brigade.lab.deps import Task, took_ms
from brigade.stores.database import ANSWER_WITHIN_S, acquire

ANSWER_MARGIN_S = 2.0


class HttpUnavailable(Unavailable):
    type, title = "urn:problem:http-unavailable", "The service did not answer itself"


async def wait_for_database(task: Task, _: Request) -> None:
    async with acquire(task.lab.resources.pg, within_s=task.ms / 1000 + ANSWER_WITHIN_S) as connection:
        await connection.execute("SELECT pg_sleep($1)", task.ms / 1000)


async def wait_for_cache(task: Task, _: Request) -> None:
    await task.lab.cache.wait(task.ms)


async def wait_for_http(task: Task, request: Request) -> None:
    """Wait for an answer of this service, at the address that this request used, which exists wherever the service runs."""
    host, port = request.scope["server"]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    http, within_s = task.lab.resources.http, task.ms / 1000 + ANSWER_MARGIN_S
    answer = await http.get(f"http://{address}/lab/sleep/awaited?ms={task.ms}", timeout_s=within_s)
    if answer.status != 200:
        raise HttpUnavailable(f"{address} answered {answer.status}.")


async def wait_for_file(task: Task, _: Request) -> None:
    await anyio.to_thread.run_sync(_read_late_file, task.ms / 1000, asyncio.get_running_loop())


def _read_late_file(late_s: float, loop: asyncio.AbstractEventLoop) -> None:
    """Read a pipe, which stands for a file whose content arrives late, as from a slow disk.

    The thread that reads it also opens and closes it, because closing it elsewhere would wait for the read, and on the
    loop without end.
    """
    reader, writer = os.pipe()
    loop.call_soon_threadsafe(loop.call_later, late_s, os.close, writer)
    with open(reader, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        file.read()


Kind = Literal["db", "cache", "http", "file"]
WAITS: dict[Kind, Callable[[Task, Request], Coroutine[Any, Any, None]]] = {
    "db": wait_for_database,
    "cache": wait_for_cache,
    "http": wait_for_http,
    "file": wait_for_file,
}


async def wait_together(task: Task, request: Request) -> dict[Kind, float]:
    """All of `WAITS` at once; what each took, in milliseconds. When one fails, the others are cancelled."""
    took: dict[Kind, float] = {}

    async def time_one(kind: Kind) -> None:
        await WAITS[kind](task, request)
        took[kind] = took_ms(task.started_s)

    try:
        async with asyncio.TaskGroup() as group:
            for kind in WAITS:
                group.create_task(time_one(kind))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return took
