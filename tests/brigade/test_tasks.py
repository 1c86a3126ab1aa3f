import asyncio

import pytest

from brigade.tasks import end

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
