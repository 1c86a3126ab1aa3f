import asyncio
import os
import threading
import time
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI

from brigade.deps import on_cpu_lane
from brigade.errors import LaneFull
from brigade.lanes import CpuLane

pytestmark = pytest.mark.anyio


def own_pid() -> int:
    return os.getpid()


def compute(turns: int = 1_000_000) -> int:
    """Pure Python: a single call into C, such as sum(range(n)), would keep the GIL to its end."""
    total = 0
    for number in range(turns):
        total += number
    return total


async def test_no_more_than_threads_run_and_queue_wait() -> None:
    lane = CpuLane(threads=2, queue=1)
    release = threading.Event()
    jobs = [asyncio.create_task(lane.run(release.wait)) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert (lane.running, lane.waiting) == (2, 1)
    with pytest.raises(LaneFull) as refusal:
        await lane.run(release.wait)
    assert int(refusal.value.headers["Retry-After"]) >= 1  # type: ignore[index]
    release.set()
    await asyncio.gather(*jobs)
    assert (lane.running, lane.waiting, lane.done_total, lane.rejected_total) == (0, 0, 3, 1)


async def test_a_failing_job_gives_its_place_back() -> None:
    lane = CpuLane(threads=1, queue=0)
    with pytest.raises(ZeroDivisionError):
        await lane.run(lambda: 1 // 0)
    assert await lane.run(lambda: 1) == 1


async def test_a_cancelled_waiter_gives_its_place_back() -> None:
    lane = CpuLane(threads=1, queue=1)
    release = threading.Event()
    running = asyncio.create_task(lane.run(release.wait))
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(lane.run(release.wait))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert (lane.running, lane.waiting) == (1, 0)
    release.set()
    await running


async def test_the_loop_turns_while_the_lane_computes() -> None:
    """Beside pure Python in the lane a sleeping task goes on waking; beside the same on the loop it never does."""
    lane = CpuLane(threads=1, queue=4)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    counting = asyncio.create_task(count())
    await asyncio.gather(*(lane.run(compute) for _ in range(4)))
    in_lane, turns = turns, 0
    for _ in range(4):
        compute()
    counting.cancel()
    assert in_lane > 10
    assert turns == 0


async def test_jobs_run_in_another_process_when_asked() -> None:
    lane = CpuLane(threads=1, queue=0, processes=True)
    assert await lane.run(own_pid) != os.getpid()


async def test_a_decorated_function_can_go_to_a_process() -> None:
    lane = CpuLane(threads=1, queue=0, processes=True)
    assert await lane.run(decorated.__wrapped__, 20, 22) == 42  # type: ignore[attr-defined]


@on_cpu_lane
def decorated(left: int, right: int) -> int:
    return left + right


async def test_on_cpu_lane_keeps_the_parameters_of_the_route() -> None:
    async def offset() -> int:
        return 1

    app = FastAPI()

    @app.get("/add/{left}")
    @on_cpu_lane
    def add(left: int, right: int, by: Annotated[int, Depends(offset)]) -> int:
        """Add two numbers."""
        return left + right + by

    operation = app.openapi()["paths"]["/add/{left}"]["get"]
    assert [parameter["name"] for parameter in operation["parameters"]] == ["left", "right"]
    assert operation["description"] == "Add two numbers."


async def test_on_cpu_lane_refuses_a_coroutine_function() -> None:
    with pytest.raises(TypeError, match="is async"):
        on_cpu_lane(asyncio.sleep)


async def test_retry_after_grows_with_the_queue() -> None:
    lane = CpuLane(threads=1, queue=20)
    for _ in range(40):
        await lane.run(time.sleep, 0.01)
    release = threading.Event()
    jobs = [asyncio.create_task(lane.run(release.wait)) for _ in range(21)]
    await asyncio.sleep(0.01)
    lane._mean_s = 1.0
    with pytest.raises(LaneFull) as refusal:
        await lane.run(release.wait)
    assert refusal.value.headers == {"Retry-After": "21"}
    release.set()
    await asyncio.gather(*jobs)
