"""`make locust` for real: service and web UI from one command, the lesson pressed once in a browser, and both down again."""

import json
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest
from playwright.sync_api import Page, expect

from local.process import free_port
from tests.browser import open_browser
from tests.conftest import ROOT
from tests.e2e.local.clone import Clone, LocalRun, users
from tests.loadtests.conftest import NO_PROXY, SHOTS

STAGE_S = 6
STAGES = {
    "Stage 1 of 6: await asyncio.sleep in async def": r"Worker 1 has (8|9|10)\d requests in flight at once",
    "Stage 2 of 6: time.sleep in async def": r"Worker 1 has 2[45] requests waiting and has been frozen for \d\.\d s; a ping takes",
    "Stage 3 of 6: computing on the event loop": r"a ping takes [\d,]{2,5} ms",
    "Stage 4 of 6: computing in the thread pool": r"Worker 1 has [89] requests in flight at once and uses \d+ % of a core",
    "Stage 5 of 6: computing in the CPU lane": r"Worker 1 has [89] requests in flight at once and uses \d+ % of a core",
    "Stage 6 of 6: everyday work": r"\d{2,} answers a second; the event loop is up to [\d.,]+ ms late; a ping takes [\d.,]+ ms",
}
CHARTS = ["Ping", "Requests in flight", "CPU", "Event loop late", "Answers a second"]


@pytest.fixture
def clone() -> Iterator[Clone]:
    with TemporaryDirectory(prefix="brigade-") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "clone").mkdir()
        clone = Clone.make(Path(folder) / "clone", user=users()[0])
        yield clone
        clone.clear()


def _start(clone: Clone, **variables: str | int) -> tuple[LocalRun, str]:
    port = free_port()
    command = [sys.executable, "-m", "loadtests", "--web-port", str(port), "--stage-s", str(STAGE_S)]
    run = clone.start(*command, **variables)
    run.wait_for("Ctrl-C ends what was started here.")
    return run, f"http://127.0.0.1:{port}"


def _runs(ui: str) -> dict[tuple[str, int], dict[str, Any]]:
    with NO_PROXY.open(f"{ui}/service/runs.json", timeout=5) as answer:
        return {(row["scenario"], row["workers"]): row for row in json.load(answer)}


def _press_start_and_change_nothing(page: Page, ui: str) -> None:
    page.goto(ui)
    page.get_by_role("button", name="Start", exact=True).click()


@pytest.mark.timeout(500)
def test_one_press_of_start_is_a_lesson_and_a_second_run_is_compared(clone: Clone) -> None:
    run, ui = _start(clone, WEB_CONCURRENCY=1)
    assert re.search(rf"Locust +{re.escape(ui)} +press Start once", run.output())
    assert re.search(rf"Service +{re.escape(run.url)} ", run.output())
    with open_browser() as browser, browser.new_page(viewport={"width": 1280, "height": 900}) as page:
        _press_start_and_change_nothing(page, ui)
        for number, (stage, words) in enumerate(STAGES.items(), 1):
            expect(page.get_by_role("status")).to_have_text(re.compile(rf"^{stage}\. .*{words}"), timeout=40_000)
            page.screenshot(path=SHOTS / f"lesson-{number}.png")
        for name in CHARTS:
            assert page.locator("#service figure", has_text=name).locator("polyline").count() >= 1
        expect(page.get_by_role("status")).to_contain_text("The run is over", timeout=40_000)
        page.get_by_role("tab", name="Charts").click()
        marks = page.locator("[_echarts_instance_]").first.locator(".stage-mark:not([hidden])")
        expect(marks.last).to_have_text("6: everyday work")
        page.screenshot(path=SHOTS / "lesson-charts.png")
    alone = _runs(ui)
    assert run.end() == 0
    clone.wait_until_empty()
    assert list(alone) == [
        (name, 1) for name in ("Awaiting", "Blocking", "OnLoop", "InThreadpool", "InLane", "Everyday")
    ]
    _assert_what_the_lesson_says({name: row for (name, _), row in alone.items()})

    run, ui = _start(clone, WEB_CONCURRENCY=2)
    with open_browser() as browser, browser.new_page(viewport={"width": 1280, "height": 1800}) as page:
        _press_start_and_change_nothing(page, ui)
        lane = page.get_by_role("article").filter(has_text="computing in the CPU lane")
        expect(lane).to_contain_text(
            re.compile(r"[\d.]+/s with 1 worker, [\d.]+/s with 2 workers: \d+\.\d times"), timeout=90_000
        )
        expect(lane.get_by_role("row")).to_have_count(3)
        assert page.get_by_role("table", name="Workers now").get_by_role("row").count() == 3
        page.screenshot(path=SHOTS / "lesson-compared.png", full_page=True)
    both = _runs(ui)
    assert run.end() == 0
    assert both["Blocking", 2]["answers_per_s"] > 1.4 * both["Blocking", 1]["answers_per_s"]


def _assert_what_the_lesson_says(rows: dict[str, dict[str, Any]]) -> None:
    assert rows["Awaiting"]["in_flight"] > 90
    assert 22 < rows["Blocking"]["in_flight"] <= 25
    assert rows["Blocking"]["answers_per_s"] <= 21
    assert rows["Awaiting"]["answers_per_s"] > 5 * rows["Blocking"]["answers_per_s"]
    assert rows["Blocking"]["ping_p50_ms"] > 3 * rows["Awaiting"]["ping_p50_ms"]
    assert rows["OnLoop"]["ping_p50_ms"] > 2 * rows["InLane"]["ping_p50_ms"]
    assert all(row["failed"] == 0 for name, row in rows.items() if name != "Everyday"), rows


def test_locust_command_reaches_a_service_on_ipv6_and_asks_no_proxy(clone: Clone) -> None:
    nobody = "http://127.0.0.1:9"
    run, ui = _start(clone, HOST="::", HTTP_PROXY=nobody, http_proxy=nobody, NO_PROXY="", no_proxy="")
    assert re.search(r"Service +http://\[::1\]:\d+ ", run.output())
    form = b"user_count=5&spawn_rate=5&scenario=Awaiting&host=http://[::1]:%d" % run.port
    with NO_PROXY.open(urllib.request.Request(f"{ui}/swarm", form), timeout=5) as answer:
        assert json.load(answer)["success"]

    def state() -> dict[str, Any]:
        with NO_PROXY.open(f"{ui}/service/state", timeout=5) as answer:
            return dict(json.load(answer))

    run.wait_for("Ctrl-C")
    while not sum(row["answers"] for row in state()["workers"]):
        pass
    with NO_PROXY.open(f"{ui}/stats/requests", timeout=5) as answer:
        assert json.load(answer)["errors"] == []
    assert run.end() == 0


def test_locust_command_refuses_a_port_that_is_in_use(clone: Clone) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        run = clone.start(sys.executable, "-m", "loadtests", LOCUST_PORT=taken.getsockname()[1])
        assert run.process.wait(60) == 1
    assert "is in use" in run.output()
    assert "or set LOCUST_PORT to another" in run.output()
    assert "Traceback" not in run.output()
    assert not psutil.pid_exists(run.process.pid)


@pytest.mark.parametrize(
    ("words", "named"),
    [(["--web-port", "99999"], "LOCUST_PORT is 99999"), (["--host", "service:8000"], "--host takes")],
)
def test_locust_command_refuses_what_is_no_address(words: list[str], named: str) -> None:
    command = [sys.executable, "-m", "loadtests", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"locust: {named}")
    assert done.stderr.count("\n") == 1
