"""Deadlines of requests: what `asyncio.timeout` promises, and one timer for all of them."""

import asyncio
import math
from contextlib import suppress

import pytest

from brigade.deadline import Clock, Deadline

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def outlast(clock: Clock, timeout_s: float) -> None:
    with Deadline(clock, timeout_s):
        await asyncio.sleep(30)


async def test_each_passes_in_its_time_whichever_came_first(clock: Clock) -> None:
    passed: list[float] = []

    async def wait(timeout_s: float) -> None:
        with pytest.raises(TimeoutError):
            await outlast(clock, timeout_s)
        passed.append(timeout_s)

    await asyncio.gather(*map(wait, (0.2, 0.05, 0.1)))
    assert passed == [0.05, 0.1, 0.2]
    assert not clock.open


async def test_many_requests_have_one_timer(clock: Clock) -> None:
    timers = set()
    for _ in range(100):
        with Deadline(clock, 15):
            timers.add(clock.timer)
    assert len(timers) == 1


async def test_one_that_is_put_off_or_over_cancels_nobody(clock: Clock) -> None:
    with Deadline(clock, 0.02):
        pass
    deadline = Deadline(clock, 0.02)
    with deadline:
        deadline.move(math.inf)
        assert deadline.when() is None
        await asyncio.sleep(0.05)
    assert not deadline.expired


async def test_it_may_be_moved_closer(clock: Clock) -> None:
    deadline = Deadline(clock, 30)
    asyncio.get_running_loop().call_soon(lambda: deadline.move(asyncio.get_running_loop().time() + 0.02))
    with pytest.raises(TimeoutError), deadline:
        await asyncio.sleep(30)


async def test_the_cancellation_of_another_stays_one(clock: Clock) -> None:
    task = asyncio.create_task(outlast(clock, 30))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_two_cancellations_at_once_are_the_other_s(clock: Clock) -> None:
    """A worker that stops may cut a request in the moment in which its time is over."""
    task = asyncio.create_task(outlast(clock, 30))
    await asyncio.sleep(0)
    next(iter(clock.open)).pass_by()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_answers_in_spite_of_it_is_not_cancelled_later(clock: Clock) -> None:
    deadline = Deadline(clock, 0.02)
    with deadline:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
        assert deadline.expired
    task = asyncio.current_task()
    assert task
    assert task.cancelling() == 0


def test_a_clock_goes_on_in_another_loop(clock: Clock) -> None:
    for _ in range(2):
        with pytest.raises(TimeoutError):
            asyncio.run(outlast(clock, 0.02))
        asyncio.run(asyncio.wait_for(still_open(clock), 5))


async def still_open(clock: Clock) -> None:
    """Leave a timer behind in a loop that ends."""
    with Deadline(clock, 30):
        pass
