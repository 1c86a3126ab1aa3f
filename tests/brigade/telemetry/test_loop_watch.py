"""Who held the loop: each way to hold it for real, on a real loop, and what the watchdog makes of it."""

import asyncio
import gc
import linecache
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from brigade.telemetry.loop_watch import LoopWatch
from brigade.telemetry.loop_watch.causes import Clocks, Turn, classify
from brigade.telemetry.loop_watch.stacks import LAYERS
from brigade.telemetry.loop_watch.watchdog import Incident
from brigade.telemetry.metrics import WorkerStats
from brigade.web.observe import Observe

pytestmark = pytest.mark.anyio

BLOCKED_MS = 60


@pytest.fixture
async def watch() -> AsyncIterator[LoopWatch]:
    async with LoopWatch(blocked_ms=BLOCKED_MS) as watch:
        await asyncio.sleep(0.1)
        yield watch


async def incident_after(watch: LoopWatch, hold: Callable[[], object]) -> Incident:
    """The longest one: on a busy machine there may be others."""
    hold()
    for _ in range(100):
        await asyncio.sleep(0.02)
        if watch.watchdog.incidents:
            break
    return max(watch.watchdog.incidents, key=lambda incident: incident.blocked_ms)


def spin(cpu_s: float) -> None:
    until = time.thread_time() + cpu_s
    while time.thread_time() < until:
        pass


def hold_the_gil(length: int = 24) -> None:
    re.match(r"(a+)+$", "a" * length + "b")  # one call into C, of half a second


async def test_a_blocking_call_is_named_with_its_line(watch: LoopWatch) -> None:
    incident = await incident_after(watch, lambda: time.sleep(0.3))
    assert incident.cause == "blocking call"
    assert incident.place is not None
    assert incident.place.file == "tests/brigade/telemetry/test_loop_watch.py"
    assert "time.sleep" in linecache.getline(__file__, incident.place.line)
    assert incident.blocked_ms > 200


@pytest.mark.parametrize("hold", [lambda: spin(0.3), hold_the_gil], ids=["python", "a call into C"])
async def test_cpu_on_the_loop_is_told_from_a_blocking_call(watch: LoopWatch, hold: Callable[[], None]) -> None:
    incident = await incident_after(watch, hold)
    assert incident.cause == "cpu on the loop"
    assert incident.place is not None
    assert incident.place.file == "tests/brigade/telemetry/test_loop_watch.py"


async def test_garbage_collection_is_told_apart(watch: LoopWatch) -> None:
    gc.disable()
    heap = [[number] for number in range(1_500_000)]
    await asyncio.sleep(0.3)
    watch.watchdog.incidents.clear()
    gc.enable()
    incident = await incident_after(watch, gc.collect)
    assert incident.cause == "garbage collection"
    assert heap


async def test_a_thread_that_keeps_the_gil_starves_the_loop(watch: LoopWatch) -> None:
    thread = threading.Thread(target=hold_the_gil, args=(25,))
    incident = await incident_after(watch, thread.start)
    thread.join()
    assert incident.cause == "starved"


async def test_a_starved_loop_names_the_pools_thread_that_computes_and_no_idle_one(watch: LoopWatch) -> None:
    idle, over = threading.Event(), threading.Event()
    threading.Thread(target=idle.wait).start()

    def compute() -> None:
        while not over.is_set():
            hold_the_gil()

    computing = asyncio.create_task(anyio.to_thread.run_sync(compute))
    places: set[str] = set()
    for _ in range(20):
        await asyncio.sleep(0.1)
        places |= {incident.place.function for incident in watch.watchdog.incidents if incident.place}
    over.set()
    idle.set()
    await computing
    assert "hold_the_gil" in places
    assert all("compute" in function or "gil" in function for function in places)


async def test_awaiting_is_no_incident(watch: LoopWatch) -> None:
    watch.watchdog.incidents.clear()
    await asyncio.sleep(0.4)
    assert [each for each in watch.watchdog.incidents if each.cause != "starved"] == []
    assert watch.lag_ms()["p50"] < BLOCKED_MS
    assert sum(watch.lag_buckets) > 5


async def test_the_request_on_the_loop_is_known(watch: LoopWatch) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        time.sleep(0.3)  # noqa: ASYNC251
        await PlainTextResponse("")(scope, receive, send)

    observe = Observe(app, stats=WorkerStats(), worker=None, sample=0)
    headers = [(b"x-request-id", b"abc")]
    scope = {"type": "http", "method": "GET", "path": "/slow", "headers": headers, "client": None}
    await observe(scope, _never, _ignore)
    incident = await incident_after(watch, lambda: None)
    assert [tuple(request) for request in incident.requests] == [("GET", "/slow", "abc")]


async def test_a_block_is_reported_while_it_lasts_and_once_when_it_ends() -> None:
    with capture_logs() as logs:
        async with LoopWatch(blocked_ms=BLOCKED_MS, killed_after_s=0.6) as watch:
            await asyncio.sleep(0.1)
            await incident_after(watch, lambda: time.sleep(0.9))
    events = [line["event"] for line in logs if line["cause"] == "blocking call"]
    assert events == ["event loop is blocked", "event loop was blocked"]
    assert "await" in logs[-1]["mend"]


def test_the_layers_that_are_never_at_fault_are_files_there_are() -> None:
    assert [layer for layer in LAYERS if not Path(layer).is_file()] == []


def spent(**seconds: float) -> Clocks:
    return Clocks(**{"wall_s": 1.0, "ran_s": 0, "delayed_s": 0, "slices": 0, "process_s": 0, "gc_s": 0} | seconds)


@pytest.mark.parametrize(
    ("clocks", "cause"),
    [
        (spent(gc_s=0.6, ran_s=1.0), "garbage collection"),
        (spent(ran_s=0.6), "cpu on the loop"),
        (spent(ran_s=0.2, delayed_s=0.7), "cpu on the loop"),  # it would have been late on an idle machine too
        (spent(ran_s=0.05, delayed_s=0.7), "starved"),
        (spent(process_s=0.9, slices=900), "starved"),  # woke each switch interval to ask for the GIL
        (spent(), "starved"),  # nobody could look: the whole process stood still
    ],
)
def test_causes_by_the_clocks(clocks: Clocks, cause: str) -> None:
    assert classify(Turn(0.0, 1.0), [], clocks, blocked_s=0.1) == cause


async def _never() -> Any:
    await asyncio.Event().wait()


def _ignore(_: Any) -> Awaitable[None]:
    return asyncio.sleep(0)
