"""The paired routes. In each pair the work is the same and only its place differs.

Watch the other requests while one of these runs: what it costs them is the lesson, not how long it takes itself.
"""

import asyncio
import time

import anyio.to_process
from fastapi import APIRouter, Request

from brigade.deps import on_cpu_lane
from brigade.lab import jobs
from brigade.lab.deps import Answer, LabTask
from brigade.lab.feed import mark
from brigade.lab.waits import WAITS, Kind, wait_together
from brigade.lab.work import spin

router = APIRouter(prefix="/lab")


class Together(Answer):
    parts_ms: dict[Kind, float]
    """Milliseconds that each of the four took."""


@router.get("/sleep/blocking")
async def sleep_blocking(task: LabTask) -> Answer:
    """`time.sleep` in an `async def` route: nothing else happens in this worker until it is over.

    Two at once take twice as long, and everybody else waits too: a ping's p99 is the sleep times the queue.
    """
    time.sleep(task.ms / 1000)  # noqa: ASYNC251 - the mistake on show
    return task.answer("blocking the event loop")


@router.get("/sleep/awaited")
async def sleep_awaited(task: LabTask) -> Answer:
    """`await asyncio.sleep`: a thousand of these at once take no longer than one, and others notice nothing."""
    await asyncio.sleep(task.ms / 1000)
    return task.answer("waiting beside the event loop")


@router.get("/cpu/on-loop")
async def spin_on_loop(task: LabTask) -> Answer:
    """CPU work in an `async def` route: as bad for the others as a blocking sleep. There is nothing to await in it."""
    spin(task.iterations)
    return task.answer("on the event loop")


@router.get("/cpu/in-threadpool")
def spin_in_threadpool(task: LabTask) -> Answer:
    """The same work in a plain `def` route, so in one of many threads.

    The event loop turns, but it shares the GIL with every busy thread: a ping gets slower with each of them.
    """
    began_s = time.perf_counter()
    spin(task.iterations)
    mark("thread", began_s, time.perf_counter())
    return task.answer("in the thread pool")


@router.get("/cpu/in-lane")
@on_cpu_lane
def spin_in_lane(task: LabTask) -> Answer:
    """The same work in the CPU lane: one thread, a short queue, 503 when that is full. Pings stay quick."""
    spin(task.iterations)
    return task.answer("in the CPU lane")


@router.get("/cpu/in-process")
async def spin_in_process(task: LabTask) -> Answer:
    """The same work in a process of its own, with a GIL of its own: pings notice least.

    It costs about 60 MB, and the first request waits a second for the process to start.
    """
    began_s = time.perf_counter()
    await anyio.to_process.run_sync(spin, task.iterations, limiter=task.lab.process)
    mark("process", began_s, time.perf_counter())
    return task.answer("in another process")


@router.get("/cpu/in-job", status_code=202)
async def spin_in_job(task: LabTask) -> Answer:
    """The same work as a job: answered as soon as the job is a row of Postgres, and done by a runner.

    Pings do not notice it, and it is done though this worker dies. 404 where no feature has jobs.
    """
    await jobs.enqueue(task.lab.resources.pg, task.iterations)
    return task.answer("in the queue of a runner")


@router.get("/io/all")
async def wait_for_all(task: LabTask, request: Request) -> Together:
    """All four kinds of I/O at once, in one `TaskGroup`: as long as the slowest of them takes, not the sum."""
    took = await wait_together(task, request)
    return Together(**task.answer("waiting for all four at once").model_dump(), parts_ms=took)


@router.get("/io/{kind}")
async def wait_for_one(kind: Kind, task: LabTask, request: Request) -> Answer:
    """One kind of I/O that takes as long as it is told, awaited: the event loop is free meanwhile, something else is not.

    `db`: a connection of the Postgres pool. `cache`: a connection to Redis. `http`: two sockets, as the service asks
    itself. `file`: a thread of the pool, since files cannot be awaited.
    """
    await WAITS[kind](task, request)
    return task.answer(f"waiting for {kind}")
