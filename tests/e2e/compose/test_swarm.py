"""The same Compose files as a stack of Docker Swarm, with two replicas, and rolling updates of it under load."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from local.process import free_port
from tests.e2e.compose.load import Load
from tests.e2e.compose.stack import Stack, eventually
from tests.e2e.compose.test_failures import assert_all_there


@pytest.fixture(scope="module")
def swarm(stack: Stack, clone: Path) -> Iterator[Stack]:
    """`stack` has built the image. A swarm that is there already is somebody's, and is left alone."""
    node = stack.run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}").stdout.strip()
    if node != "inactive":
        pytest.skip("this engine is in a swarm already")
    stack.shell("docker swarm init --advertise-addr 127.0.0.1")
    swarm = Stack(
        clone,
        project=f"brigade-swarm-{os.getpid()}",  # a swarm that was ended in the middle leaves networks under its name
        port=free_port(),
        COMPOSE_FILE="docker-compose.yml:deploy/compose.swarm.yml",
        ROLLOUT_MONITOR_S="3",
        REPLICAS="2",
    )
    try:
        swarm.shell("docker compose build")
        swarm.shell("python3 deploy/swarm.py")
        eventually(lambda: answers(swarm) and len(hosts(swarm)) == 2)
        yield swarm
    finally:
        logs = swarm.run("docker", "service", "logs", "--tail", "50", f"{swarm.project}_api", check=False)
        sys.stdout.write(logs.stdout + logs.stderr)
        swarm.run("docker", "stack", "rm", "--detach=false", swarm.project, check=False)
        eventually(lambda: not remove_networks(swarm), within_s=60)
        swarm.run("docker", "swarm", "leave", "--force")  # and all that ran in it is gone
        eventually(lambda: not remove_volumes(swarm), within_s=60)


def remove_networks(swarm: Stack) -> list[str]:
    """Return what is left. A network that outlives its swarm keeps its subnet, and the next swarm waits for ever."""
    listed = ("docker", "network", "ls", "--quiet", "--filter", f"label=com.docker.stack.namespace={swarm.project}")
    swarm.run("docker", "network", "rm", *swarm.run(*listed).stdout.split(), check=False)
    return swarm.run(*listed).stdout.split()


def remove_volumes(swarm: Stack) -> list[str]:
    """What is left of them: a container that is still on its way out holds its own."""
    listed = ("docker", "volume", "ls", "--quiet", "--filter", f"name={swarm.project}_")
    swarm.run("docker", "volume", "rm", *swarm.run(*listed).stdout.split(), check=False)
    return swarm.run(*listed).stdout.split()


def answers(swarm: Stack) -> bool:
    try:
        return swarm.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def hosts(swarm: Stack) -> set[str]:
    return {worker["host"] for worker in swarm.workers()["workers"]}


def test_swarm_updates_copy_by_copy_and_loses_nothing(swarm: Stack) -> None:
    before = hosts(swarm)
    with Load(swarm.url) as load:
        time.sleep(1)
        swarm.shell("python3 deploy/swarm.py", LOG_LEVEL="warning")
        updated = time.monotonic()
        eventually(lambda: load.succeeds(after=updated))
    assert load.lost == []
    assert_all_there(swarm, load)
    eventually(lambda: len(hosts(swarm)) == 2)
    assert not before & hosts(swarm)


def test_swarm_takes_back_what_does_not_start_and_loses_nothing(swarm: Stack) -> None:
    before = hosts(swarm)
    with Load(swarm.url) as load:
        broken = swarm.run(sys.executable, "deploy/swarm.py", check=False, LOG_LEVEL="loud")
        rolled_back = time.monotonic()
        eventually(lambda: load.succeeds(after=rolled_back))
    assert load.lost == []
    assert_all_there(swarm, load)
    assert hosts(swarm) == before  # neither was stopped for the one that never served
    assert (broken.returncode, f"Rolled back: {swarm.project}_api" in broken.stderr) == (1, True)
