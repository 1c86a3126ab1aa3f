"""The tab "Workers", as Locust serves it and as a browser shows it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.proof.conftest import SCENARIOS, SHOTS, LocustUi, PretendedService

StartLocust = Callable[..., LocustUi]
ALL = "All 2 workers"
BUSY = """
import time, gevent
from locust import User, task
from loadtests import workers_tab

workers_tab.SATURATED_PERCENT = 20  # a machine that others use too may not give Locust a whole core

class Busy(User):
    @task
    def compute(self):
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass
        gevent.sleep(0.001)
"""


@pytest.mark.parametrize("processes", [[], ["--processes", "2"]], ids=["alone", "distributed"])
def test_tab_counts_requests_by_worker(
    pretended_service: PretendedService, start_locust: StartLocust, processes: list[str]
) -> None:
    ui = start_locust(
        "-f", SCENARIOS / "connections.py", "--host", pretended_service.url, *processes, "--autostart", "-u", "80"
    )
    ui.wait_until(
        lambda: (rows := ui.rows()).get(ALL, {}).get("requests", 0) >= 80 and rows["host:a"]["in_flight"] == 3
    )
    rows = ui.rows()
    a, b = rows["host:a"], rows["host:b"]
    assert a["requests"] + b["requests"] == rows[ALL]["requests"]
    assert a["share"] == "75.0%"
    assert rows[ALL]["share"] == "fairness 1.50 (max / mean)"
    assert (b["loop_lag_ms"], b["cpu_percent"], b["cpu_lane"]) == (2.5, 31.0, "1 of 1 run, 2 wait")


def test_tab_says_that_the_service_hides_its_workers(
    pretended_service: PretendedService, start_locust: StartLocust
) -> None:
    pretended_service.names = False
    ui = start_locust("-f", SCENARIOS / "connections.py", "--host", pretended_service.url, "--autostart", "-u", "5")
    ui.wait_until(lambda: any("EXPOSE_WORKER" in row for row in ui.rows()))


def test_tab_warns_when_locust_is_the_bottleneck(
    pretended_service: PretendedService, start_locust: StartLocust, tmp_path: Path
) -> None:
    locustfile = tmp_path / "busy.py"
    locustfile.write_text(BUSY)
    ui = start_locust("-f", locustfile, "--host", pretended_service.url, "--autostart", "-u", "1")
    ui.wait_until(lambda: any("Locust is the bottleneck" in row for row in ui.rows()), timeout_s=60)


def test_tab_is_shown_by_a_browser(
    pretended_service: PretendedService, start_locust: StartLocust, browser: Browser
) -> None:
    ui = start_locust("-f", SCENARIOS / "connections.py", "--host", pretended_service.url, "-u", "40", "-r", "40")
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto(ui.url)
    page.get_by_role("button", name="Start").click()
    page.get_by_role("tab", name="Workers").click()
    expect(page.get_by_role("columnheader")).to_have_text(
        [
            "Worker",
            "Requests",
            "Share",
            "Requests/s",
            "In flight",
            "Loop lag p99 (ms)",
            "CPU (%)",
            "CPU lane",
            "Memory (MB)",
        ]
    )
    row = page.get_by_role("row").filter(has_text="host:a")
    expect(row).to_contain_text("75.0%", timeout=15_000)
    expect(row).to_contain_text("1 of 1 run, 2 wait")
    expect(page.get_by_role("row").filter(has_text=ALL)).to_contain_text("fairness 1.50")
    page.screenshot(path=SHOTS / "locust-workers.png")
    page.close()
