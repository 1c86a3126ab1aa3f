"""The stack as it comes up: whole, closed, and sized as told."""

import json

import psutil
import pytest

from tests.e2e.compose.stack import Stack, eventually


def test_up_is_healthy_and_says_nothing_to_worry_about(stack: Stack) -> None:
    assert "healthy" in stack.shell("docker compose ps")
    running = [json.loads(line) for line in stack.compose("ps", "--format", "json").stdout.splitlines()]
    assert {one["Service"]: one["Health"] for one in running} == dict.fromkeys(
        ("proxy", "api", "postgres", "redis"), "healthy"
    )
    assert stack.compose("up", "--dry-run", "--detach").stderr.lower().count("warn") == 0
    assert stack.compose("config", "--quiet").stderr == ""


def test_links_are_made_followed_drawn_and_counted_through_the_proxy(stack: Stack) -> None:
    created = stack.create_link("https://example.com/through?the=proxy")
    assert created.status_code == 201
    code = created.json()["code"]
    assert created.json()["short_url"] == f"{stack.url}/r/{code}"
    for _ in range(3):
        followed = stack.get(f"/r/{code}")
        assert (followed.status_code, followed.headers["location"]) == (307, "https://example.com/through?the=proxy")
    assert stack.get(f"/links/{code}/qr").headers["content-type"] == "image/svg+xml"
    eventually(lambda: stack.get(f"/links/{code}").json()["clicks"] == 3)


def test_workers_are_as_planned(stack: Stack) -> None:
    planned = stack.workers()["plan"]["workers"]
    assert planned["source"] in {"affinity", "cgroup"}
    eventually(lambda: len(stack.workers()["workers"]) == planned["value"])


def test_one_variable_decides_the_workers(stack: Stack) -> None:
    for variable, value, workers in (("WEB_CONCURRENCY", "4", 4), ("API_CPUS", "1.5", 1)):
        stack.up("api", **{variable: value})
        assert stack.workers()["plan"]["workers"]["value"] == workers
        eventually(lambda workers=workers: len(stack.workers()["workers"]) == workers)
    stack.up()


def test_replicas_beyond_the_connections_are_refused_in_a_sentence(stack: Stack) -> None:
    refused = stack.compose("run", "--rm", "--no-TTY", "--no-deps", "api", check=False, REPLICAS="60")
    assert refused.returncode != 0
    assert "REPLICAS=60" in refused.stderr
    assert "raise max_connections" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("service", ["api", "proxy", "postgres", "redis"])
def test_container_can_change_nothing_and_has_no_privilege(stack: Stack, service: str) -> None:
    container = stack.container(service)
    status = dict(
        line.split(":\t", 1) for line in stack.execute(container, "cat", "/proc/1/status").splitlines() if ":\t" in line
    )
    bind_ports = 1 << 10
    assert int(status["CapBnd"], 16) in ({0, bind_ports} if service == "proxy" else {0})
    assert status["NoNewPrivs"] == "1"
    if service != "proxy":
        assert status["Uid"].split()[0] != "0"
    assert stack.inspect(container)["HostConfig"]["ReadonlyRootfs"]
    assert stack.execute(container, "sh", "-c", "touch /etc/changed && echo changed", check=False) == ""


def test_api_runs_as_its_own_user_and_writes_only_its_state(stack: Stack) -> None:
    container = stack.container("api")
    assert stack.execute(container, "id", "--user") == "10001"
    write = "for f in /app /venv /state; do touch $f/x 2>/dev/null && echo $f; done; rm -f /state/x"
    assert stack.execute(container, "sh", "-c", write) == "/state"


def test_image_has_no_compiler_no_tests_and_no_cache(stack: Stack) -> None:
    container = stack.container("api")
    folders = "find / -xdev -type d ( -name tests -o -name .cache )"
    assert stack.execute(container, *folders.split(), check=False) == ""
    for program in ("gcc", "cc", "make"):
        assert stack.execute(container, "sh", "-c", f"command -v {program}", check=False) == ""


def test_postgres_and_redis_have_no_way_in_but_from_the_service(stack: Stack) -> None:
    def networks(service: str) -> dict[str, str]:
        attached = stack.inspect(stack.container(service))["NetworkSettings"]["Networks"]
        return {name: network["IPAddress"] for name, network in attached.items()}

    data = f"{stack.project}_data"
    assert set(networks("api")) & set(networks("proxy")) == {f"{stack.project}_edge"}
    for service in ("postgres", "redis"):
        assert set(networks(service)) == {data}
        published = stack.inspect(stack.container(service))["NetworkSettings"]["Ports"]
        assert not any(published.values())
        assert stack.execute(stack.container("proxy"), "getent", "hosts", service, check=False) == ""
    network = json.loads(stack.run("docker", "network", "inspect", data).stdout)[0]
    assert network["Internal"]
    # The host has no address on that network, so no route to it.
    bridge = f"br-{network['Id'][:12]}"
    families = [address.family.name for address in psutil.net_if_addrs().get(bridge, [])]
    assert "AF_INET" not in families


def test_what_a_client_says_about_itself_is_not_believed(stack: Stack) -> None:
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    created = stack.create_link(headers=forged)
    assert created.json()["short_url"].startswith(stack.url)
    logged = stack.compose("logs", "--no-log-prefix", "--tail", "20", "api").stdout
    request = next(line for line in logged.splitlines() if created.headers["x-request-id"] in line)
    assert "6.6.6.6" not in request


def test_errors_of_the_edge_are_problem_documents(stack: Stack) -> None:
    too_large = stack.create_link("https://example.com/" + "a" * 2_000_000)
    assert (too_large.status_code, too_large.headers["content-type"]) == (413, "application/problem+json")
    assert too_large.json()["status"] == 413
