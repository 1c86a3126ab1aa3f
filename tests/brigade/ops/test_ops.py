import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import httpx
import psutil

from local.servers import Postgres, Valkey
from tests.conftest import StartService
from tests.running import RunningService


def eventually(condition: Callable[[], bool], within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)


def workers(service: RunningService) -> dict[int, dict[str, object]]:
    answer = httpx.get(f"{service.url}/workers", verify=False).json()
    return {worker["pid"]: worker for worker in answer["workers"]}


def connection_to(worker: int, service: RunningService) -> httpx.Client:
    """A kept connection to this one of its workers."""
    while True:
        client = httpx.Client(base_url=service.url, timeout=httpx.Timeout(30, connect=1), verify=False)
        with suppress(httpx.TransportError):
            if client.get("/livez", timeout=1).headers["x-worker"].endswith(f":{worker}"):
                return client
        client.close()


def freeze(worker: int, service: RunningService) -> None:
    with closing(connection_to(worker, service)) as client:
        client.get("/lab/sleep/blocking", params={"ms": 3000})


def told_by(worker: int, service: RunningService) -> dict[int, dict[str, object]]:
    with closing(connection_to(worker, service)) as client:
        return {each["pid"]: each for each in client.get("/workers").json()["workers"]}


def test_workers_tells_the_plan_and_every_worker(start_service: StartService) -> None:
    service = start_service(workers=3)
    eventually(lambda: len(workers(service)) == 3)
    answer = httpx.get(f"{service.url}/workers", verify=False).json()
    assert answer["complete"] is True
    assert answer["plan"]["workers"]["value"] == 3
    assert sorted(workers(service)) == service.worker_pids()
    assert answer["workers"][0].keys() == {
        *("id", "host", "pid", "started_at", "requests_total", "in_flight", "connections", "loop_lag_ms"),
        *("cpu_lane", "db_pool", "rss_mb", "cpu_percent", "state", "stalled_ms", "silent", "streams"),
    }


def test_new_connections_reach_every_worker(start_service: StartService) -> None:
    service = start_service(workers=3)
    answered_by = {httpx.get(f"{service.url}/livez", verify=False).headers["x-worker"] for _ in range(200)}
    assert len(answered_by) == 3


def test_replicas_see_each_other(start_service: StartService) -> None:
    first, second = start_service(workers=1, REPLICAS=2), start_service(workers=1, REPLICAS=2)
    eventually(lambda: len(workers(first)) == 2)
    assert sorted(workers(first)) == sorted(workers(second)) == sorted(first.worker_pids() + second.worker_pids())


def test_a_killed_worker_is_gone_within_five_seconds(start_service: StartService) -> None:
    service = start_service(workers=2)
    eventually(lambda: len(workers(service)) == 2)
    killed = service.worker_pids()[0]
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: killed not in workers(service) and len(workers(service)) == 2, within_s=5)


def test_a_new_worker_is_there_within_a_second_of_being_ready(start_service: StartService) -> None:
    service = start_service(workers=1)
    (worker,) = workers(service).values()
    assert (worker["state"], worker["stalled_ms"], worker["silent"]) == ("serving", 0, False)
    os.kill(service.pid, signal.SIGTTIN)
    eventually(lambda: len(workers(service)) == 2)
    eventually(lambda: {worker["state"] for worker in workers(service).values()} == {"serving"}, within_s=3)


def test_a_frozen_a_stopped_and_a_killed_worker_are_told_apart(start_service: StartService) -> None:
    service = start_service(workers=2)
    eventually(lambda: len(workers(service)) == 2)
    asked, left = sorted(service.worker_pids())
    with ThreadPoolExecutor() as pool:
        freezing = pool.submit(freeze, asked, service)
        eventually(lambda: told_by(left, service).get(asked, {}).get("state") == "frozen", within_s=10)
        frozen = told_by(left, service)[asked]
        freezing.result()
    assert frozen["silent"] is False
    assert int(str(frozen["stalled_ms"])) >= 300
    eventually(lambda: workers(service)[asked]["state"] == "serving")
    process = psutil.Process(asked)
    process.suspend()
    eventually(lambda: process.status() == psutil.STATUS_STOPPED)
    assert told_by(left, service)[asked]["silent"], "not in the first answer after it"
    time.sleep(5)  # longer than Redis keeps what nobody writes
    stopped = told_by(left, service)[asked]
    assert (stopped["state"], stopped["silent"]) == ("frozen", True)
    assert int(str(stopped["stalled_ms"])) > 5000
    os.kill(asked, signal.SIGCONT)
    eventually(lambda: workers(service)[asked]["state"] == "serving", within_s=4)
    process.kill()
    eventually(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    assert asked not in told_by(left, service), "in the first answer after it"


def test_a_reload_shows_workers_that_start_and_drain_and_none_that_vanishes(start_service: StartService) -> None:
    service = start_service(workers=1)
    seen: dict[int, list[object]] = {}

    def look() -> set[int]:
        now = workers(service)
        for pid, worker in now.items():
            seen.setdefault(pid, []).append(worker["state"])
        return set(now)

    (old,) = look()
    os.kill(service.pid, signal.SIGHUP)
    eventually(lambda: old not in look(), within_s=30)
    (new,) = look()
    assert seen.keys() == {old, new}, "a rehearsal is no worker"
    assert (seen[old][0], seen[old][-1]) == ("serving", "draining")
    assert "draining" not in seen[new]


def test_without_redis_a_worker_answers_for_itself_and_says_so(start_service: StartService, valkey: Valkey) -> None:
    service = start_service(workers=2)
    valkey.stop()
    answer = httpx.get(f"{service.url}/workers", verify=False).json()
    assert answer["complete"] is False
    assert [worker["pid"] in service.worker_pids() for worker in answer["workers"]] == [True]
    valkey.start()
    eventually(lambda: len(workers(service)) == 2)


def test_readiness_names_the_lost_backend_and_fails_without_both(
    start_service: StartService, postgres: Postgres, valkey: Valkey
) -> None:
    service = start_service(workers=1)

    def report() -> tuple[int, dict[str, str]]:
        response = httpx.get(f"{service.url}/readyz", verify=False)
        return response.status_code, response.json()

    assert report() == (200, {"status": "ready", "postgres": "ok", "redis": "ok"})
    valkey.stop()
    eventually(lambda: report() == (200, {"status": "degraded", "postgres": "ok", "redis": "unavailable"}))
    postgres.stop()
    eventually(lambda: report() == (503, {"status": "unavailable", "postgres": "unavailable", "redis": "unavailable"}))
    assert httpx.get(f"{service.url}/readyz").headers["retry-after"] == "1"
    assert httpx.get(f"{service.url}/livez").is_success
    postgres.start()
    valkey.start()
    eventually(lambda: report() == (200, {"status": "ready", "postgres": "ok", "redis": "ok"}))


def test_a_log_line_is_one_json_object_with_its_request(start_service: StartService) -> None:
    service = start_service(workers=1, LOG_FORMAT="json")
    httpx.get(f"{service.url}/docs", headers={"x-request-id": "find-me"})

    def line() -> dict[str, object] | None:
        lines = [json.loads(line) for line in service.log().splitlines() if line.startswith("{")]
        return next((line for line in lines if line.get("request_id") == "find-me"), None)

    eventually(lambda: line() is not None)
    assert (found := line()) is not None
    assert (found["event"], found["path"], found["status"], found["level"]) == ("request", "/docs", 200, "info")
    assert found["duration_ms"]


def test_the_log_can_be_sampled_but_not_for_errors(start_service: StartService) -> None:
    service = start_service(workers=1, ACCESS_LOG_SAMPLE=0)
    httpx.get(f"{service.url}/docs", headers={"x-request-id": "unseen"})
    httpx.get(f"{service.url}/nowhere", headers={"x-request-id": "unseen-too"})
    service.stop()
    assert "unseen" not in service.log()
