"""The production overlay, with the name `localhost`, for which the proxy makes a certificate of its own."""

import json
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from local.process import free_port
from tests.e2e.compose.stack import Stack

HIDDEN = [
    *(
        b"/metrics",
        b"/workers",
        b"/lab",
        b"/lab/sleep/blocking",
        b"//metrics",
        b"/metrics/",
        b"/./metrics",
        b"/x/../metrics",
    ),
    *(b"/%6detrics", b"/x/..%2fmetrics", b"/%2e/metrics", b"/metrics%00", b"/METRICS", b"/metrics;x", b"/metrics?x"),
    *(b"http://localhost:8001/metrics", b"http://api:8001/metrics", b"/lab//page/main.js", b"/lab/%2e%2e/workers"),
]

FILES = "docker-compose.yml:deploy/compose.production.yml"


@pytest.fixture(scope="module")
def production(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(
        clone,
        project="brigade-e2e-production",
        port=free_port(),
        COMPOSE_FILE=FILES,
        DOMAIN="localhost",
        SECRETS_DIR=str(tmp_path_factory.mktemp("secrets")),
        HTTP_PORT=str(free_port()),
        HTTPS_PORT=str(free_port()),
        RATE_LIMIT="40/hour",
    )
    stack.url = f"https://localhost:{stack.env['HTTPS_PORT']}"
    stack.down()
    try:
        stack.key = stack.shell("python3 deploy/make_secrets.py").split()[-1]
        stack.shell("docker compose up --detach --build --wait")
        yield stack
    finally:
        sys.stdout.write(stack.compose("logs", "--no-color", "--tail", "100").stdout)
        stack.down()


@pytest.fixture(scope="module")
def client(production: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=production.url, verify=False, trust_env=False, timeout=20) as client:
        yield client


def connect(stack: Stack, *protocols: str) -> ssl.SSLSocket:
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(list(protocols))
    plain = socket.create_connection(("127.0.0.1", int(stack.env["HTTPS_PORT"])), timeout=20)
    return context.wrap_socket(plain, server_hostname="localhost")


def test_writing_takes_a_key_and_reading_does_not(production: Stack, client: httpx.Client) -> None:
    new = {"url": "https://example.com/a"}
    assert client.post("/links", json=new).status_code == 401
    created = client.post("/links", json=new, headers={"Authorization": f"Bearer {production.key}"})
    assert created.status_code == 201
    assert created.json()["short_url"].startswith("https://localhost/r/")
    assert client.get(f"/r/{created.json()['code']}").status_code == 307


def test_edge_speaks_http_2_and_3_and_sends_plain_http_on(production: Stack, client: httpx.Client) -> None:
    with connect(production, "h2", "http/1.1") as connection:
        assert connection.selected_alpn_protocol() == "h2"
    assert "h3" in client.get("/livez").headers["alt-svc"]
    plain = httpx.get(f"http://127.0.0.1:{production.env['HTTP_PORT']}/livez", headers={"Host": "localhost"})
    assert (plain.status_code, plain.headers["location"]) == (308, "https://localhost/livez")


def test_answers_carry_security_headers_and_are_compressed(client: httpx.Client) -> None:
    answer = client.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["strict-transport-security"].startswith("max-age=")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not {"server", "x-worker"} & set(answer.headers)


def test_what_is_not_for_the_public_is_not_there(production: Stack) -> None:
    for target in HIDDEN:
        for method in (b"GET", b"HEAD"):
            with connect(production, "http/1.1") as connection:
                connection.sendall(b"%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % (method, target))
                answer = connection.makefile("rb").read()
            # 307 and 308 give the path in a tidier form, which is no better; 200 is the proxy's to a host that is not ours.
            assert int(answer.split()[1]) in {400, 404, 405, 307, 308} or b"Server: Caddy" in answer, answer
            assert b"event_loop" not in answer


def test_limit_holds_behind_the_proxy_whatever_a_client_says_of_itself(production: Stack, client: httpx.Client) -> None:
    statuses = [
        client.get("/links/none", headers={"X-Forwarded-For": f"6.6.6.{number}", "Forwarded": f"for=6.6.6.{number}"})
        for number in range(60)
    ]
    refused = [answer for answer in statuses if answer.status_code == 429]
    assert 10 < len(refused) < 60
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
    assert client.get("/links", headers={"X-API-Key": production.key}).status_code == 200
    assert client.get("/r/none").status_code == 404


def test_edge_bounds_what_a_client_sends_and_how_long_it_takes(production: Stack, client: httpx.Client) -> None:
    assert client.post("/links", content=b"x" * 2_000_000).status_code == 413
    with connect(production, "http/1.1") as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: loc")
        began = time.monotonic()
        assert connection.recv(1000).partition(b"\r\n")[0] in {b"", b"HTTP/1.1 408 Request Timeout"}
        assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("API_KEYS_FILE", ""),
        ("DATABASE_URL_FILE", "/nowhere"),
        ("DATABASE_URL", "postgresql://brigade:brigade@postgres:5432/brigade"),
        ("REDIS_URL", "redis://redis:6379/0"),
    ],
)
def test_secret_that_is_missing_or_a_default_is_refused_in_a_sentence(
    production: Stack, variable: str, value: str
) -> None:
    arguments = ("run", "--rm", "--no-TTY", "--no-deps", "--env", f"{variable}={value}", "api")
    refused = production.compose(*arguments, check=False)
    assert refused.returncode != 0
    sentence = refused.stderr.strip().splitlines()[-1]
    assert sentence.startswith("service: ")
    assert variable.removesuffix("_FILE") in sentence


def test_stack_without_its_secrets_or_its_domain_does_not_start(production: Stack, tmp_path: Path) -> None:
    missing = production.compose("create", "--force-recreate", "migrate", check=False, SECRETS_DIR=str(tmp_path))
    assert missing.returncode != 0
    nameless = production.compose("config", "--quiet", check=False, DOMAIN="")
    assert "Set DOMAIN" in nameless.stderr


def test_no_secret_is_in_the_configuration_or_the_process_list(production: Stack) -> None:
    secrets = [path.read_text().strip().split()[-1] for path in Path(production.env["SECRETS_DIR"]).iterdir()]
    inspected = [production.inspect(production.container(name)) for name in ("api", "postgres", "redis")]
    seen = json.dumps([one["Config"] for one in inspected])
    for name in ("api", "postgres", "redis"):
        seen += production.execute(production.container(name), "sh", "-c", "cat /proc/[0-9]*/cmdline", check=False)
    assert not [secret for secret in secrets if secret in seen]
