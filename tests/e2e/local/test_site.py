"""`make docs`: a site that needs no network, and that refuses a link to nowhere."""

import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.browser import open_browser

ROOT = Path(__file__).parents[3]
PARTS = ("docs", "brigade", "local", "pyproject.toml", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")


@pytest.fixture(scope="module")
def tools() -> None:
    """What `make docs` installs beside the packages of the tests."""
    subprocess.run([sys.executable, ROOT / "local" / "environment.py", "docs"], check=True)


@pytest.fixture
def project(tmp_path: Path, tools: None) -> Path:
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def build(project: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "local.site"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def test_site_is_read_without_a_network(project: Path) -> None:
    (project / "reports").mkdir()
    (project / "reports" / "proof.html").write_text("<h1>Proved</h1>")
    (project / "reports" / "lab.html").write_text("<h1>Recorded</h1>")
    built = build(project)
    assert built.returncode == 0, built.stdout + built.stderr
    asked: list[str] = []
    site = project / "reports" / "docs"
    handler = partial(SimpleHTTPRequestHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, open_browser() as browser:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{url}/index.html")
        page.get_by_role("link", name="Sizing", exact=True).first.click()
        page.wait_for_url("**/sizing.html")
        page.goto(f"{url}/reference/brigade.html")
        assert page.locator("h2", has_text="acquire").count() > 0
        page.goto(f"{url}/proof.html")
        page.get_by_role("link", name="measured on this machine").click()
        assert page.locator("h1").inner_text() == "Proved"
        page.goto(f"{url}/lab.html")
        page.get_by_role("link", name="the recorded lab").click()
        assert page.locator("h1").inner_text() == "Recorded"
        server.shutdown()
    assert [address for address in asked if not address.startswith((url, "data:", "blob:"))] == []
    assert "tombstone" in (site / "search.json").read_text()


def test_site_is_refused_with_a_link_to_nowhere_or_a_page_in_no_part(project: Path) -> None:
    page = project / "docs" / "sizing.md"
    page.write_text(f"{page.read_text()}\n[This](nothing.md) leads nowhere.\n")
    refused = build(project)
    assert refused.returncode == 1
    assert "sizing.md" in refused.stdout + refused.stderr

    (project / "docs" / "lost.md").write_text("# Lost\n")
    assert "docs/lost.md: name it in PARTS" in build(project).stderr
