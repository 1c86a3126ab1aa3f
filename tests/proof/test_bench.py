import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from redis import Redis

from proof.bench import figures, jobs, layers, outgoing, streams, trials
from proof.bench.client import get, post_link
from proof.bench.deployment import backends, deployment
from proof.bench.redis_tls import REDIS, redis_over_tls
from proof.bench.sample import Sample, Series
from proof.bench.switches import DEFAULTS

ROOT = Path(__file__).parents[2]


def test_without_wrk_it_compares_cpu_time_and_says_what_it_cannot(tmp_path: Path) -> None:
    """The whole of it, on one route for a second."""
    command = [sys.executable, "-m", "proof.bench", "--only", "read", "--rounds", "1", "--seconds", "1"]
    for tool in filter(None, map(shutil.which, ("setpriv", "sh"))):  # Postgres as root, and nothing else
        (tmp_path / Path(tool).name).symlink_to(tool)
    environment = os.environ | {"PATH": str(tmp_path)}
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "wrk is not installed" in done.stdout
    report = json.loads((tmp_path / "bench.json").read_text())
    values = {figure["name"]: figure["value"] for figure in report["figures"]}
    assert values.keys() == {
        "read, textbook / ours, CPU a request",
        "read, textbook, logging / ours, CPU a request",
    }
    assert all(value > 0 for value in values.values())
    assert report["generator"] == "python"
    assert {name: rounds[0]["errors"] for name, rounds in report["rounds"]["read"].items()} == {
        "ours": 0,
        "textbook": 0,
        "textbook, logging": 0,
    }
    assert (tmp_path / "bench.svg").read_text().startswith("<?xml")


def test_the_limits_of_the_server_are_measured() -> None:
    with backends() as servers:
        for name in ("ceiling", "stock ceiling"):
            with deployment(name, servers) as server:
                assert httpx.get(f"{server.url}/r/any", follow_redirects=False).status_code == 307


def test_a_ratio_is_the_quotient_of_the_medians_that_are_printed() -> None:
    """The median of the ratios of the rounds is another number: 2 here, where the medians are 30 and 20."""
    ours = Series([Sample(30, 10, 0, 0, 0, 0), Sample(10, 20, 0, 0, 0, 0), Sample(40, 30, 0, 0, 0, 0)])
    theirs = Series([Sample(15, 20, 0, 0, 0, 0), Sample(20, 10, 0, 0, 0, 0), Sample(20, 90, 0, 0, 0, 0)])
    found = {each.name: each.value for each in figures.of_routes({"read": {"ours": ours, "textbook": theirs}})}
    assert found["read, textbook / ours, CPU a request"] == 1.0
    assert found.get("read, ours / textbook, requests/s", 1.5) == 1.5
    switched = list(figures.of_switches({"read": {DEFAULTS: ours, "tracing": theirs}}))
    assert [(each.value, each.detail[:16]) for each in switched] == [(1.0, "20.0 and 20.0 µs")]


@pytest.mark.skipif(REDIS is None, reason="there is no Redis with TLS here: apt-get install redis-server")
def test_the_redis_of_a_switch_speaks_tls() -> None:
    with redis_over_tls() as url, Redis.from_url(url) as client:
        assert url.startswith("rediss://")
        assert client.ping()


def test_a_key_is_sent_with_every_request() -> None:
    key = {"X-API-Key": "secret"}
    for request in (get("/r/a", key), post_link("https://example.com/", key)):
        head, _, body = request.partition(b"\r\n\r\n")
        assert b"\r\nX-API-Key: secret" in head
        assert not body or b"Content-Length: %d" % len(body) in head


def test_clients_for_calls_are_compared_in_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    outgoing.main(["--calls", "64", "--rounds", "1"])
    told = capsys.readouterr().out
    assert "one round" in told
    assert [line.split()[0] for line in told.splitlines()[1:]] == [name for name in outgoing.CLIENTS if find_spec(name)]


def test_streams_and_jobs_have_figures(capsys: pytest.CaptureFixture[str]) -> None:
    streams.main(["--held", "20", "--seconds", "0.2"])
    jobs.main(["--jobs", "20"])
    told = capsys.readouterr().out
    figures_of = {line.split("  ")[0]: re.findall(r"[\d,.]+(?= |/s)", line) for line in told.splitlines()}
    for kind in ("a WebSocket", "an event stream"):
        assert all(float(figure.replace(",", "")) > 0 for figure in figures_of[kind][1:]), told
    assert re.search(r"20 jobs that do nothing: \d+/s", told)


def test_the_time_of_a_request_is_told_by_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "COLUMNS", [("ours", "trivial")])
    with backends() as servers:
        found = layers.compare(servers, seconds=1, progress=lambda _: None)["ours, trivial"]
    assert sum(layer.share for layer in found.values()) == pytest.approx(1)
    assert found["FastAPI, Starlette, pydantic"].calls > found["the server"].calls > 10
    assert found["asyncpg"].calls < 1  # it asks no store


def test_a_server_is_tried_in_bad_hours() -> None:
    variables = {"WORKER_TIMEOUT_S": "5", "HEADER_TIMEOUT_S": "1"}
    with (
        backends() as servers,
        trials.release() as project,
        deployment("ours", servers, {}, project, workers=2, **variables) as server,
    ):
        assert asyncio.run(trials.slow_held(server, after_s=20)) == 0
        assert trials.hung_s(server, project, within_s=30) is not None
        assert asyncio.run(trials.streams_cut(server, reloads=1, every_s=2)) is not None
        assert trials.outlives_broken(server, project, after_s=2)
