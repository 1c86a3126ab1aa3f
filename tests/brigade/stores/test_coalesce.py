import asyncio
from collections.abc import Mapping

import pytest

from brigade.errors import Unavailable
from brigade.stores.coalesce import Coalescer

pytestmark = pytest.mark.anyio


class Backend:
    """Answers upper case; holds its answers back while `gate` is closed."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch_many(self, keys: list[str]) -> Mapping[str, str]:
        self.calls.append(keys)
        await self.gate.wait()
        if "bad" in keys:
            raise ValueError("bad key")
        return {key: key.upper() for key in keys if key != "unknown"}


async def test_one_turn_of_the_loop_is_one_call() -> None:
    backend = Backend()
    coalescer = Coalescer(backend.fetch_many)
    assert await asyncio.gather(*(coalescer.get(key) for key in ["a", "b", "a", "unknown"])) == ["A", "B", "A", None]
    assert backend.calls == [["a", "b", "unknown"]]


async def test_what_arrives_during_a_call_waits_and_goes_together() -> None:
    backend = Backend()
    backend.gate.clear()
    coalescer = Coalescer(backend.fetch_many)
    first = coalescer.get("a")
    await asyncio.sleep(0.01)
    later = [coalescer.get("b"), coalescer.get("a")]
    await asyncio.sleep(0.01)
    assert backend.calls == [["a"]]
    backend.gate.set()
    assert await asyncio.gather(first, *later) == ["A", "B", "A"]
    assert backend.calls == [["a"], ["b", "a"]]


async def test_joining_in_flight_asks_once_for_a_stampede() -> None:
    backend = Backend()
    backend.gate.clear()
    coalescer = Coalescer(backend.fetch_many, join_in_flight=True)
    waiters = []
    for _ in range(5):
        waiters.append(coalescer.get("a"))
        await asyncio.sleep(0.002)
    backend.gate.set()
    assert await asyncio.gather(*waiters) == ["A"] * 5
    assert backend.calls == [["a"]]


async def test_a_failing_batch_fails_only_its_own_waiters() -> None:
    backend = Backend()
    coalescer = Coalescer(backend.fetch_many, max_batch=1)
    results = await asyncio.gather(*(coalescer.get(key) for key in ["a", "bad", "b"]), return_exceptions=True)
    assert results[0] == "A"
    assert isinstance(results[1], ValueError)
    assert results[2] == "B"


async def test_a_cancelled_waiter_disturbs_no_other() -> None:
    backend = Backend()
    backend.gate.clear()
    coalescer = Coalescer(backend.fetch_many)
    waiters = [coalescer.get("a"), coalescer.get("a"), coalescer.get("b")]
    await asyncio.sleep(0.01)
    waiters[0].cancel()
    backend.gate.set()
    assert await asyncio.gather(*waiters[1:]) == ["A", "B"]
    assert await coalescer.get("c") == "C"


async def test_more_than_max_batch_goes_in_several_calls_in_order() -> None:
    backend = Backend()
    coalescer = Coalescer(backend.fetch_many, max_batch=2)
    assert await asyncio.gather(*(coalescer.get(key) for key in "abcde")) == list("ABCDE")
    assert backend.calls == [["a", "b"], ["c", "d"], ["e"]]


async def test_the_queue_is_bounded_and_opens_again() -> None:
    backend = Backend()
    backend.gate.clear()
    coalescer = Coalescer(backend.fetch_many, max_waiting=2)
    waiters = [coalescer.get("a"), coalescer.get("b")]
    with pytest.raises(Unavailable):
        coalescer.get("c")
    backend.gate.set()
    await asyncio.gather(*waiters)
    assert await coalescer.get("c") == "C"


async def test_max_calls_run_at_once() -> None:
    backend = Backend()
    backend.gate.clear()
    coalescer = Coalescer(backend.fetch_many, max_batch=1, max_calls=2)
    waiters = [coalescer.get(key) for key in "abc"]
    await asyncio.sleep(0.01)
    assert backend.calls == [["a"], ["b"]]
    backend.gate.set()
    assert await asyncio.gather(*waiters) == ["A", "B", "C"]
