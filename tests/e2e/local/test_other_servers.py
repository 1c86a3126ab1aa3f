"""The same application on servers that know nothing of Brigade's protocol."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from local.process import free_port, spawn
from tests.brigade.ops.test_ops import eventually
from tests.conftest import ROOT
from tests.running import RunningService

SERVERS = {
    "brigade": ["-m", "service", "run"],
    "stock": ["-m", "service", "run"],
    "uvicorn": ["-m", "uvicorn", "service.main:create_app", "--factory", "--port", "{port}"],
    "granian": ["-m", "granian", "--interface", "asgi", "--factory", "service.main:create_app", "--port", "{port}"],
}
Serve = Callable[[str], RunningService]


@pytest.fixture
def serve(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Serve]:
    started: list[RunningService] = []

    def serve(name: str) -> RunningService:
        port = free_port()
        variables = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "PORT": str(port), "EXPOSE_WORKER": "1"}
        variables |= {"SERVER": name} if name in {"brigade", "stock"} else {}
        with (tmp_path / "log").open("wb") as log:
            process = spawn(
                [sys.executable, *(part.format(port=port) for part in SERVERS[name])],
                env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **variables},
                cwd=tmp_path,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        started.append(RunningService(process, port=port, log=tmp_path / "log"))
        started[-1].wait_ready()
        return started[-1]

    yield serve
    for service in started:
        service.stop(within_s=10)


@pytest.mark.drives("links")
@pytest.mark.parametrize("name", SERVERS)
def test_each_server_serves_every_kind_of_route(name: str, serve: Serve) -> None:
    service = serve(name)
    with httpx.Client(base_url=service.url) as client:
        made = client.post("/links", json={"url": "https://example.com/", "code": "served"})
        assert made.status_code == 201
        for _ in range(3):
            assert client.get("/r/served").headers["location"] == "https://example.com/"
        assert client.get("/r/never").status_code == 404
        assert client.get("/links/served/qr").headers["content-type"].startswith("image/")
        eventually(lambda: client.get("/links/served").json()["clicks"] == 3, within_s=15)
        assert client.get("/links").status_code == 200
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").json()["status"] == "ready"
        assert client.get("/metrics").status_code == 200
        worker = client.get("/livez").headers["x-worker"]

        def workers() -> list[str]:
            found = client.get("/workers").json()["workers"]
            return [f"{each['host']}:{each['pid']}" for each in found]

        eventually(lambda: worker in workers())
        assert client.post("/links", json={"url": "https://example.com/", "code": "served"}).status_code == 409
        assert client.post("/links", content=b"x" * 2_000_000).status_code == 413
    assert service.stop(signal.SIGTERM) in {0, -signal.SIGTERM}
    assert "Traceback" not in service.log()
