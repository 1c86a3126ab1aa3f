"""`make audit` against a vulnerability service of the test's own, and against none."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HOLE = {
    "id": "GHSA-test-0000", "summary": "A hole.", "modified": "2026-01-01T00:00:00Z", "published": "2026-01-01T00:00:00Z",
    "affected": [{"package": {"name": "gunicorn", "ecosystem": "PyPI"},
                  "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "999"}]}]}],
}  # fmt: skip


class Osv(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"vulns": [HOLE]} if asked["package"]["name"] == "gunicorn" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def osv() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def audit(*options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "deploy/audit.py", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)


def test_a_known_hole_fails_the_audit_unless_it_is_borne(osv: str) -> None:
    found = audit("--osv-url", osv)
    assert found.returncode == 1, found.stderr
    assert "gunicorn" in found.stdout
    assert "GHSA-test-0000, mended in 999" in found.stdout
    borne = audit("--osv-url", osv, "--ignore", "GHSA-test-0000")
    assert (borne.returncode, "knows of 0 holes" in borne.stdout) == (0, True), borne.stdout


def test_an_audit_that_could_ask_nobody_says_so() -> None:
    nobody = "http://127.0.0.1:9"
    assert audit("--osv-url", nobody, "--strict").returncode == 2
    done = audit("--osv-url", nobody)
    assert (done.returncode, "NOT DONE" in done.stdout) == (0, True)
