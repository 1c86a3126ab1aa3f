"""The stack as it comes up: whole, closed, and sized as told."""

import json
import re
import socket

import psutil
import pytest

from tests.e2e.compose.stack import ROOT, Stack, eventually


def test_up_is_healthy_and_says_nothing_to_worry_about(stack: Stack) -> None:
    assert "healthy" in stack.shell("docker compose ps")
    running = [json.loads(line) for line in stack.compose("ps", "--format", "json").stdout.splitlines()]
    health = {one["Service"]: one["Health"] for one in running}
    assert health.pop("locust-worker") == ""  # it listens nowhere
    assert health == dict.fromkeys(("proxy", "api", "jobs", "postgres", "redis", "locust"), "healthy")
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
    stack.up("api", WEB_CONCURRENCY="3")
    assert stack.workers()["plan"]["workers"]["value"] == 3
    eventually(lambda: len(stack.workers()["workers"]) == 3)
    sizing = ("run", "--rm", "--no-TTY", "--no-deps", "api", "python", "-m", "service", "sizing", "--json")
    planned = json.loads(stack.compose(*sizing, check=True, API_CPUS="1.5").stdout)
    assert planned["workers"]["value"] == 1
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


def test_proxy_is_healthy_while_the_service_is_away(stack: Stack) -> None:
    """An `up --wait` that brings the service back would take an unhealthy proxy for its own failure."""
    (check,) = stack.inspect(stack.container("proxy"))["Config"]["Healthcheck"]["Test"][1:]
    stack.compose("stop", "api")
    stack.execute(stack.container("proxy"), "sh", "-c", check)
    stack.up()


def test_load_balancer_in_front_is_believed_if_it_is_named(stack: Stack) -> None:
    """What reaches the proxy from this host comes from the gateway of its network."""
    network = json.loads(stack.run("docker", "network", "inspect", f"{stack.project}_edge").stdout)[0]
    stack.up("proxy", TRUSTED_PROXIES=f"192.0.2.0/24,{network['IPAM']['Config'][0]['Gateway']}")
    said = {"X-Forwarded-For": "6.6.6.6, 203.0.113.7, 192.0.2.9", "X-Forwarded-Proto": "https"}
    created = stack.create_link(headers=said)
    assert created.json()["short_url"].startswith(stack.url.replace("http:", "https:"))
    assert client_of(stack, created.headers["x-request-id"]) == "203.0.113.7"
    stack.up("proxy")


def client_of(stack: Stack, request_id: str) -> str:
    logged = stack.compose("logs", "--no-log-prefix", "--tail", "50", "api").stdout
    (line,) = re.findall(rf"{{.*{request_id}.*}}", logged)
    return str(json.loads(line)["client"])


def test_replicas_have_addresses_that_the_proxy_checks(stack: Stack) -> None:
    addresses = re.findall(r"\.(\d+):8000", (ROOT / "deploy" / "Caddyfile").read_text())
    network = json.loads(stack.run("docker", "network", "inspect", f"{stack.project}_edge").stdout)[0]
    first = network["IPAM"]["Config"][0]["Gateway"].rpartition(".")[0]
    for container in stack.containers("api"):
        edge = stack.inspect(container)["NetworkSettings"]["Networks"][f"{stack.project}_edge"]["IPAddress"]
        assert edge in {f"{first}.{last}" for last in addresses}


def test_image_serves_as_any_user_of_group_0_and_over_both_families(stack: Stack) -> None:
    """As OpenShift starts it, with nothing but what the image itself says of HOST and STATE_DIR."""
    closed = ["--user", "1000650000:0", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--volume", "/state"]
    backends = {
        "DATABASE_URL": "postgresql://brigade@postgres/brigade",
        "DATABASE_PASSWORD": stack.env["POSTGRES_PASSWORD"],
        "REDIS_URL": "redis://redis",
    }
    given = [part for name, value in backends.items() for part in ("--env", f"{name}={value}")]
    run = ["docker", "run", "--detach", "--network", f"{stack.project}_data", *closed, *given, "brigade-e2e:latest"]
    container = stack.run(*run).stdout.strip()
    try:
        ask = ("python", "-IS", "deploy/healthcheck.py", "/readyz")
        eventually(lambda: stack.run("docker", "exec", container, *ask, check=False).returncode == 0)
        listening = stack.execute(container, "cat", "/proc/net/tcp6", check=False)
        assert f":{8000:04X} " in listening or not socket.has_dualstack_ipv6()
    finally:
        stack.run("docker", "rm", "--force", "--volumes", container)


def test_errors_of_the_edge_are_problem_documents(stack: Stack) -> None:
    too_large = stack.create_link("https://example.com/" + "a" * 2_000_000)
    assert (too_large.status_code, too_large.headers["content-type"]) == (413, "application/problem+json")
    assert too_large.json()["status"] == 413
