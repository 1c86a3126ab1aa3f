"""`make locust` for real: service and web UI from one command, a scenario chosen in the browser, and both down again."""

import json
import socket
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
from playwright.sync_api import expect

from local.process import free_port
from tests.browser import open_browser
from tests.e2e.local.clone import Clone, LocalRun, users
from tests.proof.conftest import SHOTS


@pytest.fixture
def clone() -> Iterator[Clone]:
    with TemporaryDirectory(prefix="brigade-") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "clone").mkdir()
        clone = Clone.make(Path(folder) / "clone", user=users()[0])
        yield clone
        clone.clear()


def _start(clone: Clone) -> tuple[LocalRun, str]:
    port = free_port()
    run = clone.start(sys.executable, "-m", "loadtests", "--web-port", str(port), WEB_CONCURRENCY=2)
    run.wait_for("Ctrl-C ends what was started here.")
    return run, f"http://127.0.0.1:{port}"


@pytest.mark.timeout(240)
def test_locust_command_serves_both_and_ends_both(clone: Clone) -> None:
    run, ui = _start(clone)
    assert ui in run.output()
    assert run.url in run.output()
    with open_browser() as browser, browser.new_page(viewport={"width": 1280, "height": 720}) as page:
        page.goto(ui)
        page.get_by_role("row").first.get_by_role("checkbox").click()
        page.get_by_role("row").filter(has_text="Everyday").get_by_role("checkbox").click()
        page.get_by_label("Number of users").fill("40")
        page.get_by_role("button", name="Start").click()
        page.get_by_role("tab", name="Workers").click()
        workers = page.get_by_role("row").filter(has_text=":").filter(has_text="of 1 run")
        expect(workers).to_have_count(2, timeout=40_000)
        expect(page.get_by_role("row").filter(has_text="All 2 workers")).to_contain_text("fairness")
        page.wait_for_timeout(12_000)  # for a rate over ten seconds on the picture
        page.screenshot(path=SHOTS / "locust-command.png")
        page.get_by_role("tab", name="Charts").click()
        page.wait_for_timeout(2000)
        page.screenshot(path=SHOTS / "locust-charts.png")
    with urllib.request.urlopen(f"{ui}/stats/requests", timeout=5) as answer:
        stats = json.load(answer)
    assert {"/r/{code}", "/links"} <= {entry["name"] for entry in stats["stats"]}
    assert stats["fail_ratio"] < 0.05, stats["errors"]  # a busy machine may answer a 503 or two
    assert run.end() == 0
    clone.wait_until_empty()


def test_locust_command_refuses_a_port_that_is_in_use(clone: Clone) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        run = clone.start(sys.executable, "-m", "loadtests", "--web-port", str(taken.getsockname()[1]))
        assert run.process.wait(60) == 1
    assert "is in use" in run.output()
    assert "Traceback" not in run.output()
    assert not psutil.pid_exists(run.process.pid)
