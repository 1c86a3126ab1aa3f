import asyncio
import itertools

import pytest
import structlog

from brigade.errors import CacheUnavailable
from brigade.tasks import end, supervised
from brigade.telemetry.logs import request_id
from brigade.telemetry.metrics import registry

pytestmark = pytest.mark.anyio


async def test_a_task_that_loses_a_cancellation_ends_all_the_same() -> None:
    cancelled = 0

    async def forgetful() -> None:
        nonlocal cancelled
        while cancelled < 3:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled += 1

    async def failed() -> None:
        raise RuntimeError("long ago")

    tasks = [asyncio.create_task(forgetful()), asyncio.create_task(asyncio.sleep(60)), asyncio.create_task(failed())]
    await asyncio.sleep(0)
    await asyncio.wait_for(end(*tasks), 10)
    assert cancelled == 3
    assert all(task.done() for task in tasks)
    assert isinstance(tasks[2].exception(), RuntimeError)


async def test_a_task_that_a_request_starts_is_not_part_of_the_request() -> None:
    seen = asyncio.get_running_loop().create_future()

    async def step() -> None:
        if not seen.done():
            seen.set_result(request_id.get())

    token = request_id.set("of-the-request")
    task = supervised("test-context", step, every_s=60)
    assert await asyncio.wait_for(seen, 10) == "-"
    request_id.reset(token)
    await end(task)


@pytest.mark.parametrize("other", [None, OSError("it was cancelled")])
async def test_supervised_task_ends_though_its_step_loses_the_cancellation(other: Exception | None) -> None:
    begun = asyncio.Event()

    async def step() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if other:
                raise other from None

    task = supervised("test-loses", step, every_s=0.001)
    await begun.wait()
    task.cancel()
    await asyncio.wait([task], timeout=10)
    assert task.cancelled()


async def test_supervised_task_survives_every_exception_and_counts_it() -> None:
    lost = asyncio.get_running_loop().create_future()
    lost.cancel()
    raised: list[BaseException] = [RuntimeError("a defect"), KeyError("another"), ExceptionGroup("two", [OSError()])]
    raised.append(SystemExit("of a library"))
    done = asyncio.Event()

    async def step() -> None:
        if raised:
            raise raised.pop()
        if not done.is_set():
            done.set()
            await lost  # somebody else's cancellation
        await asyncio.sleep(60)

    before = failures_of("test-survives")
    task = supervised("test-survives", step, every_s=0.001)
    async with asyncio.timeout(10):
        await done.wait()
        while failures_of("test-survives") < before + 5:  # noqa: ASYNC110 - a plain number
            await asyncio.sleep(0.001)
    assert not task.done()
    await end(task)
    assert task.done()


async def test_supervised_task_goes_on_at_its_pace_while_a_store_is_away() -> None:
    steps = 0

    async def step() -> None:
        nonlocal steps
        steps += 1
        raise CacheUnavailable("Redis does not answer.")

    task = supervised("test-away", step, every_s=0.001)
    async with asyncio.timeout(10):
        while steps < 100:  # noqa: ASYNC110 - doubled pauses would take years
            await asyncio.sleep(0.001)
    await end(task)
    assert failures_of("test-away") == 0


async def test_supervised_task_that_keeps_failing_waits_longer_each_time_and_logs_once() -> None:
    steps: list[float] = []

    async def step() -> None:
        steps.append(asyncio.get_running_loop().time())
        raise ValueError

    with structlog.testing.capture_logs() as logged:
        task = supervised("test-backoff", step, every_s=0.01)
        async with asyncio.timeout(10):
            while len(steps) < 5:  # noqa: ASYNC110 - a plain number
                await asyncio.sleep(0.001)
        await end(task)
    pauses = [after - before for before, after in itertools.pairwise(steps)]
    assert all(pause > 0.009 * 2**number for number, pause in enumerate(pauses, 1))
    assert [line["task"] for line in logged] == ["test-backoff"]


def failures_of(task: str) -> float:
    return registry.get_sample_value("background_task_failures_total", {"task": task}) or 0.0


async def test_a_step_under_way_is_finished_before_its_task_ends() -> None:
    begun, finished = asyncio.Event(), False

    async def step() -> None:
        nonlocal finished
        begun.set()
        await asyncio.sleep(0.05)
        finished = True

    task = supervised("test-finishes", step, every_s=60)
    await begun.wait()
    await end(task)
    assert finished
    assert not task.cancelled()
