"""Replacing a running service, and stopping it, with clients in the middle of things."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.compose.load import Load
from tests.e2e.compose.stack import Stack, eventually

ROLLOUT = (sys.executable, "deploy/rollout.py")
GRACE_S = 45
NEVER_READY = 'FROM brigade-e2e:latest\nCMD ["python", "-c", "import time; time.sleep(600)"]\n'


@pytest.fixture(scope="module")
def two_replicas(stack: Stack) -> Iterator[Stack]:
    stack.shell("REPLICAS=2 docker compose up --detach --wait")
    stack.env["REPLICAS"] = "2"
    yield stack
    stack.back_to_one_replica()


def image_of(stack: Stack, name: str) -> str:
    return stack.run("docker", "image", "inspect", "--format", "{{.Id}}", name).stdout


def test_proxy_balances_replicas_and_takes_the_work_of_a_killed_one_to_the_others(two_replicas: Stack) -> None:
    """Docker takes `docker kill` for an operator's wish and does not start the container again."""
    with Load(two_replicas.url) as load:
        time.sleep(2)
        served = Counter(worker["host"] for worker in two_replicas.workers()["workers"])
        two_replicas.run("docker", "kill", two_replicas.containers("api")[0])
        killed = time.monotonic()
        eventually(lambda: load.succeeds(after=killed))
    assert len(served) == 2
    assert len(load.lost) <= load.clients
    assert all(outcome.began < killed + 1 for outcome in load.lost)
    two_replicas.up()


def test_more_copies_than_replicas_are_refused_in_a_sentence(two_replicas: Stack) -> None:
    refused = two_replicas.compose("run", "--rm", "--no-TTY", "--no-deps", "api", check=False, REPLICAS="1")
    assert refused.returncode != 0
    assert "REPLICAS is 1, and 3 copies" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_rollout_replaces_every_container_and_loses_no_request(two_replicas: Stack) -> None:
    before = set(two_replicas.containers("api"))
    with Load(two_replicas.url) as load:
        two_replicas.shell("make deploy", REVISION="next")
    after = two_replicas.containers("api")
    assert len(after) == 2
    assert not before & set(after)
    for container in after:
        assert two_replicas.inspect(container)["Config"]["Labels"]["org.opencontainers.image.revision"] == "next"
    assert load.lost == []
    two_replicas.up()
    assert two_replicas.containers("api") == after


def test_rollout_of_what_never_gets_ready_changes_nothing_and_loses_no_request(two_replicas: Stack) -> None:
    before, image = two_replicas.containers("api"), image_of(two_replicas, "brigade-e2e:latest")
    (two_replicas.folder / "never-ready").write_text(NEVER_READY)
    two_replicas.run("docker", "build", "--quiet", "--tag", "brigade-e2e:latest", "--file", "never-ready", ".")
    with Load(two_replicas.url) as load:
        rollout = two_replicas.run(*ROLLOUT, check=False, ROLLOUT_TIMEOUT_S="8")
    assert rollout.returncode == 1
    assert "Rolled back" in rollout.stderr
    assert two_replicas.containers("api") == before
    assert image_of(two_replicas, "brigade-e2e:latest") == image
    assert load.lost == []


def test_stop_answers_what_was_asked_before_it_and_keeps_what_was_made(two_replicas: Stack) -> None:
    """Slow requests are under way when everything is told to stop: all are answered, and everybody leaves in order."""
    code = two_replicas.create_link().json()["code"]
    containers = [c for name in ("proxy", "api", "postgres", "redis") for c in two_replicas.containers(name)]
    with ThreadPoolExecutor(30) as pool:
        answers = pool.map(lambda _: two_replicas.get("/lab/sleep/awaited?ms=3000").status_code, range(30))
        time.sleep(1.5)
        began = time.monotonic()
        two_replicas.compose("stop")
        assert time.monotonic() - began < GRACE_S
        assert list(answers) == [200] * 30
    assert {two_replicas.inspect(container)["State"]["ExitCode"] for container in containers} == {0}
    two_replicas.shell("docker compose down")
    two_replicas.up()
    assert two_replicas.get(f"/r/{code}").status_code == 307
