"""Who held the loop: each way to hold it for real, on a real loop, and what the watchdog makes of it."""

import asyncio
import gc
import linecache
import re
import sys
import sysconfig
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

import brigade
from brigade.telemetry.loop_watch import LoopWatch
from brigade.telemetry.loop_watch.causes import Clocks, Turn, classify
from brigade.telemetry.loop_watch.stacks import Place, place_of, stack
from brigade.telemetry.loop_watch.watchdog import Incident
from brigade.telemetry.metrics import WorkerStats
from brigade.web.observe import Observe

pytestmark = pytest.mark.anyio

BLOCKED_MS = 60


@pytest.fixture
async def watch() -> AsyncIterator[LoopWatch]:
    async with LoopWatch(blocked_ms=BLOCKED_MS) as watch:
        watch.watchdog.settle_s = 0.0
        watch.watch()
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


def hold_the_gil_and_go_on() -> None:
    hold_the_gil()
    spin(0.1)  # only now the watchdog can look, and on a busy machine it comes a little later


@pytest.mark.parametrize("hold", [lambda: spin(0.3), hold_the_gil_and_go_on], ids=["python", "a call into C"])
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


async def test_a_block_is_the_worst_of_its_own_second(watch: LoopWatch) -> None:
    time.sleep(0.3)  # noqa: ASYNC251
    assert watch.lag_ms()["last_second"] >= 250, "the turn that is due"
    for _ in range(100):
        await asyncio.sleep(0.1)
        if watch.lag_ms()["last_second"] < 250:
            break
    assert watch.lag_ms()["last_second"] < 250 <= watch.lag_ms()["max"]


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
            watch.watch()
            await asyncio.sleep(0.1)
            seen: list[int] = []
            threading.Timer(0.8, lambda: seen.append(watch.watchdog.incidents_total["blocking call"])).start()
            await incident_after(watch, lambda: time.sleep(0.9))
            assert [*seen, watch.watchdog.incidents_total["blocking call"]] == [1, 1]
    events = [line["event"] for line in logs if line["cause"] == "blocking call"]
    assert events == ["event loop is blocked", "event loop was blocked"]
    assert "await" in logs[-1]["mend"]


def code_in(file: str) -> Callable[[Callable[[], Any]], Any]:
    """A function whose code is in `file`: it calls what it is given."""
    names: dict[str, Any] = {}
    exec(
        compile("def call(function):\n    return function()", file, "exec"), names
    )  # the only way to have such a frame
    call: Callable[[Callable[[], Any]], Any] = names["call"]
    return call


PACKAGE = f"{sysconfig.get_path('purelib')}/some/client.py"
ENGINE = str(Path(brigade.__file__).parent)


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (["/elsewhere/orders/routes.py", PACKAGE], "/elsewhere/orders/routes.py"),
        ([f"{ENGINE}/web/observe.py", f"{ENGINE}/server/cycle.py"], "test_loop_watch.py"),
        ([PACKAGE, f"{ENGINE}/stores/cache.py", f"{ENGINE}/web/hot.py"], "brigade/stores/cache.py"),
        ([f"{ENGINE}/stores/cache.py", PACKAGE], "some/client.py"),
        ([f"{ENGINE}/lab/routes.py", PACKAGE], "brigade/lab/routes.py"),
    ],
    ids=["the project's", "layers alone", "the engine's", "a package's", "an experiment"],
)
def test_the_project_is_named_before_packages_and_layers_never(files: list[str], named: str) -> None:
    found: list[Place | None] = []

    def glance() -> None:
        frames = [frame for frame in stack(sys._getframe().f_back) if frame.f_code.co_name == "call"]
        found.append(place_of(frames))

    call: Callable[[], Any] = glance
    for file in reversed(files):
        call = partial(code_in(file), call)
    call()
    place = found[0]
    assert place is not None
    if named == "test_loop_watch.py":  # nobody but layers: the innermost of all
        assert place.file == "brigade/server/cycle.py"
    else:
        assert place.file == named


async def test_the_start_of_a_worker_is_no_incident() -> None:
    """What a lifespan does before the server says that it serves is told by nobody, and what blocks at once then is."""
    with capture_logs() as logs:
        async with LoopWatch(blocked_ms=BLOCKED_MS) as watch:
            time.sleep(0.2)  # noqa: ASYNC251
            await asyncio.sleep(0.05)
            time.sleep(0.2)  # noqa: ASYNC251
            watch.watch()
            time.sleep(0.2)  # noqa: ASYNC251
            await asyncio.sleep(0.05)
            assert not watch.watchdog.incidents
            incident = await incident_after(watch, lambda: time.sleep(0.2))
    assert incident.cause == "blocking call"
    assert len(logs) == 1


async def test_a_block_that_is_a_little_longer_than_the_threshold_is_always_found(watch: LoopWatch) -> None:
    for _ in range(10):
        time.sleep(BLOCKED_MS / 1000 * 1.2)  # noqa: ASYNC251
        await asyncio.sleep(0.0437)
    assert len([each for each in watch.watchdog.incidents if each.cause == "blocking call"]) >= 9


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
