"""`make docs`: a site that needs no network, and that refuses a link to nowhere."""

import shutil
import subprocess
import sys
from pathlib import Path

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


def test_site_is_read_and_searched_from_disk(project: Path) -> None:
    (project / "reports").mkdir()
    (project / "reports" / "proof.html").write_text("<h1>Proved</h1>")
    (project / "reports" / "lab.html").write_text("<h1>Recorded</h1>")
    built = build(project)
    assert built.returncode == 0, built.stdout + built.stderr
    asked: list[str] = []
    url = (project / "reports" / "docs").as_uri()
    with open_browser() as browser, browser.new_page() as page:
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{url}/index.html")
        page.get_by_role("link", name="Sizing", exact=True).first.click()
        page.wait_for_url("**/sizing.html")
        page.goto(f"{url}/reference/brigade.html")
        assert page.locator("h2", has_text="acquire").count() > 0
        page.locator(".md-search__button").click()
        page.keyboard.type("tombstone")
        page.get_by_role("option", name="Deleting a link leaves a tombstone in the cache").first.click()
        page.wait_for_url("**/decisions/0006-*.html*")
        page.goto(f"{url}/proof.html")
        page.get_by_role("link", name="measured on this machine").click()
        assert page.locator("h1").inner_text() == "Proved"
        page.goto(f"{url}/lab.html")
        page.get_by_role("link", name="the recorded lab").click()
        assert page.locator("h1").inner_text() == "Recorded"
    assert [address for address in asked if not address.startswith((url, "data:", "blob:"))] == []


def test_site_is_refused_with_a_link_to_nowhere_or_a_page_in_no_part(project: Path) -> None:
    page = project / "docs" / "sizing.md"
    page.write_text(f"{page.read_text()}\n[This](nothing.md) leads nowhere.\n")
    refused = build(project)
    assert refused.returncode == 1
    assert "sizing.md" in refused.stdout + refused.stderr

    (project / "docs" / "lost.md").write_text("# Lost\n")
    assert "docs/lost.md: name it in PARTS" in build(project).stderr
