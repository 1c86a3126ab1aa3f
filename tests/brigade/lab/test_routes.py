"""The paired routes, against a running service. Times are compared with each other, not with a clock of another machine."""

import asyncio
import json
import linecache
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

import asyncpg
import httpx
import pytest
from starlette.responses import Response

from brigade.lab import jobs, routes, work
from brigade.lab.deps import MAX_IN_FLIGHT, Lab, LabFull, enter
from brigade.lab.jobs import MOST_WAITING, WAITING
from local.servers import Valkey
from tests.brigade.lab.client import client_of, timed
from tests.conftest import StartService
from tests.running import RunningService

pytestmark = pytest.mark.anyio

PATHS = ["sleep/blocking", "sleep/awaited", "cpu/on-loop", "cpu/in-threadpool", "cpu/in-lane", "cpu/in-process"]
KINDS = ["db", "cache", "http", "file"]


async def longest_ping(client: httpx.AsyncClient, during: Coroutine[Any, Any, object]) -> float:
    task = asyncio.create_task(during)
    pings = []
    while not task.done():
        pings.append(await timed(client.get("/livez")))
        await asyncio.sleep(0.005)
    await task
    return max(pings)


async def test_every_route_takes_as_long_as_it_is_told_and_says_where(shared_service: RunningService) -> None:
    async with client_of(shared_service) as client:
        for path in PATHS + [f"io/{kind}" for kind in [*KINDS, "all"]]:
            answer = (await client.get(f"/lab/{path}?ms=150")).json()
            longer = (await client.get(f"/lab/{path}?ms=600")).json()
            assert answer["ms"] == 150, path
            assert answer["where"], path
            assert int(answer["worker"].rpartition(":")[2]) == shared_service.worker_pids()[0]
            assert longer["took_ms"] > 1.5 * 150, path
            if not path.startswith("cpu/"):  # what a calculation takes is the machine's business
                assert answer["took_ms"] > 0.95 * 150, path


async def test_awaited_sleeps_overlap_and_blocking_ones_do_not(shared_service: RunningService) -> None:
    async with client_of(shared_service) as client:

        async def five(path: str) -> float:
            return await timed(asyncio.gather(*(client.get(f"/lab/sleep/{path}?ms=200") for _ in range(5))))

        assert await five("blocking") > 2.5 * await five("awaited")


async def test_a_ping_waits_for_whoever_holds_the_loop(shared_service: RunningService) -> None:
    async with client_of(shared_service) as client:
        blocked = await longest_ping(client, client.get("/lab/sleep/blocking?ms=600"))
        computing = await longest_ping(client, client.get("/lab/cpu/on-loop?ms=600"))
        for path in ("sleep/awaited", "cpu/in-lane", "io/all"):
            beside = await longest_ping(client, client.get(f"/lab/{path}?ms=600"))
            assert beside < blocked / 2, path
            assert beside < computing / 2, path


async def test_a_job_is_answered_before_its_work_is_done_and_few_wait(
    start_service: StartService, database_url: str
) -> None:
    service = start_service(workers=1)
    async with client_of(service) as client:
        answer = await client.get("/lab/cpu/in-job?ms=5000")
        assert (answer.status_code, answer.json()["where"]) == (202, "in the queue of a runner")
        assert answer.json()["took_ms"] < 5000 / 2
        more = [(await client.get("/lab/cpu/in-job?ms=1")).status_code for _ in range(MOST_WAITING)]
    assert more == [202] * (MOST_WAITING - 1) + [503]
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval(WAITING, "lab.compute") == MOST_WAITING
    await connection.close()


async def test_without_a_feature_that_has_jobs_there_is_none_in_the_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "registered", {})
    assert jobs.offered() is None
    with pytest.raises(jobs.NoJobs):
        await jobs.enqueue(cast(Any, None), 1)


async def test_first_call_of_the_lab_to_its_service_does_not_hold_the_loop(start_service: StartService) -> None:
    service = start_service(workers=1, LOOP_BLOCKED_MS=60)
    async with client_of(service) as client:
        assert (await client.get("/lab/io/http?ms=1")).is_success
        await client.get("/lab/sleep/awaited?ms=300")  # by then the watchdog has told
    incidents = [line for line in service.log().splitlines() if "/lab/io/http" in line and "cpu on the loop" in line]
    assert incidents == []


async def test_all_io_at_once_takes_as_long_as_the_slowest(shared_service: RunningService) -> None:
    async with client_of(shared_service) as client:
        answer = (await client.get("/lab/io/all?ms=400")).json()
    assert sorted(answer["parts_ms"]) == sorted(KINDS)
    assert max(answer["parts_ms"].values()) <= answer["took_ms"] < sum(answer["parts_ms"].values()) / 2


async def test_one_of_four_that_fails_is_a_problem_and_not_a_crash(start_service: StartService, valkey: Valkey) -> None:
    async with client_of(start_service(workers=1)) as client:
        valkey.stop()
        answer = await client.get("/lab/io/all?ms=100")
        valkey.start()
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:problem:cache-unavailable")


def test_cpu_work_is_a_constant_amount_that_outlives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "lab" / "iterations_per_ms"
    first = work.calibrate(path)
    assert first > 100
    path.write_text("4711")
    assert work.calibrate(path) == 4711
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


async def test_while_off_the_routes_are_404_and_the_page_says_how_to_turn_it_on(start_service: StartService) -> None:
    async with client_of(start_service(workers=1, LAB_ENABLED=0)) as client:
        for path in [*PATHS, "io/all", "io/db", "events"]:
            answer = await client.get(f"/lab/{path}")
            assert (answer.status_code, answer.json()["type"]) == (404, "urn:problem:lab-off"), path
            assert "LAB_ENABLED" in answer.json()["detail"]
        page = await client.get("/lab")
        assert "LAB_ENABLED" in page.text
        assert "<script" not in page.text


async def test_what_is_asked_for_is_bounded(shared_service: RunningService) -> None:
    async with client_of(shared_service) as client:
        for query in ("ms=0", "ms=5001", "ms=x"):
            assert (await client.get(f"/lab/sleep/blocking?{query}")).status_code == 422


async def test_a_full_lab_turns_people_away() -> None:
    lab = Lab.__new__(Lab)
    lab.in_flight = MAX_IN_FLIGHT
    with pytest.raises(LabFull):
        await anext(enter(lab, Response(), 200))


async def test_a_burst_that_closes_its_connections_reaches_every_worker(start_service: StartService) -> None:
    workers: set[str] = set()
    async with client_of(start_service(workers=2)) as client:
        while len(workers) < 2:  # on a busy machine one of them may have no core for a while
            answer = await client.get("/lab/sleep/awaited?ms=1&close=true")
            assert answer.headers["connection"] == "close"
            workers.add(answer.json()["worker"])
        document = (await client.get("/openapi.json")).text
    assert not [worker for worker in workers if worker in document]  # it is the same of every worker


def blocks(service: RunningService) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in service.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"].startswith("event loop") and line["cause"] != "starved"]


async def test_the_log_names_the_route_the_file_and_the_line_that_blocked(start_service: StartService) -> None:
    service = start_service(workers=1)
    async with client_of(service) as client:
        await client.get("/lab/sleep/awaited?ms=300")
        answer = await client.get("/lab/sleep/blocking?ms=300")
        await asyncio.sleep(0.5)
    (block,) = [each for each in blocks(service) if each["path"]]
    assert (
        block.items()
        >= {
            "event": "event loop was blocked",
            "cause": "blocking call",
            "method": "GET",
            "path": "/lab/sleep/blocking",
            "request_id": answer.headers["x-request-id"],
            "file": "brigade/lab/routes.py",
            "function": "sleep_blocking",
        }.items()
    )
    assert "time.sleep(" in linecache.getline(routes.__file__, block["line"])
    assert block["blocked_ms"] > 200
    assert "await" in block["mend"]


async def test_of_a_worker_killed_for_its_silence_the_log_knows_why(start_service: StartService) -> None:
    service = start_service(workers=1, WORKER_TIMEOUT_S=1)
    with pytest.raises(httpx.TransportError):
        async with client_of(service) as client:
            await client.get("/lab/sleep/blocking?ms=5000")
    assert [block["function"] for block in blocks(service)] == ["sleep_blocking"]
    assert blocks(service)[0]["event"] == "event loop is blocked"
