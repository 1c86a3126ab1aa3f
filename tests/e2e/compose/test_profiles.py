"""What a profile adds: Locust in front of the proxy, Prometheus behind it. Grafana is only looked at by `make lint`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.compose.stack import ROOT, Stack, eventually


@pytest.fixture(scope="module")
def profiles(stack: Stack) -> Iterator[Stack]:
    stack.env["REPLICAS"] = "2"
    stack.shell("docker compose up --detach --wait", LOCUST_WORKERS="2")
    stack.up("prometheus")
    yield stack
    stack.compose("--profile", "*", "rm", "--force", "--stop", "prometheus")
    stack.back_to_one_replica()


def workers_of(stack: Stack) -> set[str]:
    return {worker["id"] for worker in stack.workers()["workers"]}


def test_locust_runs_a_scenario_on_all_its_workers_at_once(profiles: Stack) -> None:
    url = f"http://127.0.0.1:{profiles.env['LOCUST_PORT']}"

    def report() -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(f"{url}/stats/requests", trust_env=False).json()
        return answer

    def state() -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(f"{url}/service/state", trust_env=False).json()
        return answer

    eventually(lambda: len(report().get("workers", [])) == 2)
    form = {"scenario": "Everyday", "user_count": "19", "spawn_rate": "20", "host": "http://proxy:8080"}
    started = httpx.post(f"{url}/swarm", data=form, trust_env=False)
    assert started.json()["success"]
    eventually(lambda: report()["stats"][-1]["num_requests"] > 100)
    assert [worker["user_count"] for worker in report()["workers"]] == [10, 10]
    workers = workers_of(profiles)
    replicas = {worker.partition(":")[0] for worker in workers}
    assert len(replicas) == 2

    def served() -> set[str]:
        """A worker may have none: the proxy's few connections last, and are shared by all users."""
        return {row["id"] for row in state()["workers"] if row["answers"]} & workers

    eventually(lambda: {worker.partition(":")[0] for worker in served()} == replicas)
    httpx.get(f"{url}/stop", trust_env=False)
    assert report()["errors"] == []

    def answers() -> int:
        return sum(row["answers"] for row in state()["workers"])

    eventually(lambda: answers() == report()["stats"][-1]["num_requests"])  # of both processes, from both replicas


def test_proof_of_a_deployment_finds_the_workers_of_every_replica(profiles: Stack, tmp_path: Path) -> None:
    command = ["-m", "proof.prove", "--quick", "--only", "spread", "--host", profiles.url, "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    (window,) = json.loads((tmp_path / "proof.json").read_text())["results"]["spread"].values()
    found, workers = window[0]["by_worker"].keys(), workers_of(profiles)
    assert found <= workers  # one that has no CPU for the second of a quick run answers nothing
    assert {worker.partition(":")[0] for worker in found} == {worker.partition(":")[0] for worker in workers}


def test_prometheus_finds_every_replica(profiles: Stack) -> None:
    url = f"http://127.0.0.1:{profiles.env['PROMETHEUS_PORT']}"

    def targets() -> list[tuple[str, str]]:
        answer = httpx.get(f"{url}/api/v1/targets", trust_env=False).json()
        return sorted((target["labels"]["job"], target["health"]) for target in answer["data"]["activeTargets"])

    eventually(lambda: targets() == [("jobs", "up"), ("service", "up"), ("service", "up")])
    assert profiles.execute(
        profiles.container("prometheus"), "promtool", "check", "config", "/etc/prometheus/prometheus.yml"
    )
