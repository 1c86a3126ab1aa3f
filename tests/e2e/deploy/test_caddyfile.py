"""deploy/Caddyfile in front of nothing: what Caddy itself says and answers. Containers have the rest, in tests/e2e/compose."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from local.process import free_port, terminate
from tests.brigade.ops.test_ops import eventually

CADDYFILE = Path(__file__).parents[3] / "deploy" / "Caddyfile"
KEY = "s3cret-of-a-client"


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Its address, and its log. No replica answers it."""
    caddy = shutil.which("caddy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert caddy, "caddy is missing: make development installs it"
    port = free_port()
    text = CADDYFILE.read_text().replace("127.0.0.1:2020", f"127.0.0.1:{free_port()}")
    text = text.replace(":8000", f":{free_port()}").replace("dynamic a api 8000", f"dynamic a localhost {free_port()}")
    (tmp_path / "Caddyfile").write_text(re.sub(r"lb_try_duration \ds", "lb_try_duration 100ms", text))
    variables = {"EDGE_NETWORK": "127.0.0", "TRUSTED_PROXIES": "", "SITE_ADDRESS": f"http://127.0.0.1:{port}"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [caddy, "run", "--config", tmp_path / "Caddyfile", "--adapter", "caddyfile"],
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], **variables},
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: "serving initial configuration" in (tmp_path / "log").read_text())
        yield url, tmp_path / "log"
    finally:
        terminate(process, within_s=10)


def test_no_key_is_in_the_log_of_the_edge(edge: tuple[str, Path]) -> None:
    url, log = edge
    for headers in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}):
        assert httpx.get(f"{url}/links", headers=headers, timeout=30).status_code in {502, 503}
    eventually(lambda: log.read_text().count('"handled request"') == 2)
    assert KEY not in log.read_text()
