"""The tab "Service", as Locust serves it and as a browser shows it."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import StartService
from tests.loadtests.conftest import LESSON, SCENARIOS, SHOTS, LocustUi, PretendedService, StartLocust, pretended

CONNECTIONS = SCENARIOS / "connections.py"
BUSY = """
import time, gevent
from locust import User, task
from loadtests import tab, window

window.SATURATED_PERCENT = 20  # a machine that others use too may not give Locust a whole core

class Busy(User):
    @task
    def compute(self):
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass
        gevent.sleep(0.001)
"""


@pytest.mark.parametrize("processes", [[], ["--processes", "2"]], ids=["alone", "distributed"])
def test_answers_are_counted_by_worker(
    pretended_service: PretendedService, start_locust: StartLocust, processes: list[str]
) -> None:
    ui = start_locust("-f", CONNECTIONS, "--host", pretended_service.url, *processes, "--autostart", "-u", "80")
    ui.wait_until(lambda: sum(row["answers"] for row in ui.rows().values()) >= 80)
    rows = ui.rows()
    a, b = rows["host:a"], rows["host:b"]
    assert a["answers"] == pytest.approx(3 * b["answers"], abs=3)
    assert (a["share"], b["share"]) in {("75%", "25%"), ("76%", "24%"), ("74%", "26%")}
    assert (b["loop_lag_ms"], b["cpu_percent"], b["cpu_lane"]) == (2.5, 31.0, "1 of 1 run, 2 wait")
    assert (b["worker"], b["state"]) == ("2", "serving")
    assert _points(ui)[-1]["workers"]["2"]["loop_lag_ms"] == 2.5


def test_what_a_dead_process_of_locust_counted_stays_and_its_users_move(
    pretended_service: PretendedService, start_locust: StartLocust
) -> None:
    ui = start_locust(
        *("-f", LESSON, "--scenario", "Regular", "--host", pretended_service.url),
        *("--processes", "2", "--autostart", "-u", "20", "-r", "50"),
    )

    def answers() -> int:
        return sum(int(row["answers"]) for row in ui.rows().values())

    ui.wait_until(lambda: answers() >= 40 and len(ui.stats()["workers"]) == 2)
    before = answers()
    # The one started last: Locust restarts none.
    children = psutil.Process(ui.process.pid).children(recursive=True)
    max(children, key=lambda child: child.create_time()).kill()
    ui.wait_until(lambda: [each["state"] for each in ui.stats()["workers"]].count("running") == 1)
    assert answers() >= before
    now = answers()
    ui.wait_until(lambda: answers() > now)


def test_it_says_that_the_service_hides_its_workers(
    pretended_service: PretendedService, start_locust: StartLocust
) -> None:
    pretended_service.names = False
    ui = start_locust("-f", CONNECTIONS, "--host", pretended_service.url, "--autostart", "-u", "60", "-r", "60")
    ui.wait_until(lambda: any("EXPOSE_WORKER" in note for note in ui.state()["notes"]))


def test_it_says_when_locust_is_the_bottleneck(
    pretended_service: PretendedService, start_locust: StartLocust, tmp_path: Path
) -> None:
    locustfile = tmp_path / "busy.py"
    locustfile.write_text(BUSY)
    ui = start_locust("-f", locustfile, "--host", pretended_service.url, "--autostart", "-u", "1")
    ui.wait_until(lambda: any("Locust is the bottleneck" in note for note in ui.state()["notes"]), timeout_s=60)


def test_a_proxy_of_the_environment_is_not_asked(
    pretended_service: PretendedService, start_locust: StartLocust
) -> None:
    nobody = "http://127.0.0.1:9"
    ui = start_locust(
        *("-f", CONNECTIONS, "--host", pretended_service.url, "--autostart", "-u", "5"),
        HTTP_PROXY=nobody,
        http_proxy=nobody,
        NO_PROXY="",
        no_proxy="",
    )
    ui.wait_until(lambda: len(ui.rows()) == 2)
    assert [note for note in ui.state()["notes"] if "/workers" in note] == []


def test_arrivals_do_not_wait_for_answers(start_service: StartService, start_locust: StartLocust) -> None:
    """Little's law: in flight is arrivals a second times the time of each."""
    service = start_service(1)
    ui = start_locust(
        *("-f", LESSON, "--scenario", "Arriving", "--host", service.url),
        *("--arrivals", "40", "--ms", "1000", "--autostart"),
    )
    ui.wait_until(lambda: any(25 <= point["workers"].get("1", {}).get("in_flight", 0) <= 80 for point in _points(ui)))
    assert "requests a second arrive, whatever becomes of the earlier ones" in ui.line()


def _points(ui: LocustUi) -> list[dict[str, Any]]:
    return list(ui.state()["points"])


def test_a_blocked_a_stopped_and_a_killed_worker_have_words_of_their_own(
    start_service: StartService, start_locust: StartLocust
) -> None:
    service = start_service(2)
    ui = start_locust(
        *("-f", LESSON, "--scenario", "Awaiting", "--host", service.url, "--autostart", "-u", "10", "-r", "10")
    )
    ui.wait_until(lambda: [row["state"] for row in ui.rows().values()] == ["serving"] * 2)

    def words(pid: int) -> str:
        return str(next((row["words"] for name, row in ui.rows().items() if name.endswith(f":{pid}")), ""))

    with ThreadPoolExecutor() as pool:
        blocked = pool.submit(httpx.get, f"{service.url}/lab/sleep/blocking?ms=4000", timeout=60)
        ui.wait_until(lambda: any(row["words"].startswith("frozen for") for row in ui.rows().values()))
        ui.wait_until(lambda: "has been frozen for" in ui.line())
        assert blocked.result().is_success
    first, second = service.worker_pids()
    numbers = {int(name.rpartition(":")[2]): row["worker"] for name, row in ui.rows().items()}
    os.kill(first, signal.SIGSTOP)
    ui.wait_until(lambda: words(first).startswith("silent for"))
    ui.wait_until(lambda: f"Worker {numbers[first]} has been silent for" in ui.line())
    os.kill(first, signal.SIGCONT)
    ui.wait_until(lambda: words(first) == "serving")
    os.kill(second, signal.SIGKILL)
    ui.wait_until(lambda: words(second).startswith("dead, "))
    ui.wait_until(lambda: f"Worker {numbers[second]} died" in ui.line())


def test_the_tab_says_what_the_last_answers_of_workers_said(
    pretended_service: PretendedService, start_locust: StartLocust, browser: Browser
) -> None:
    """Locust asks every 0.4 s, and the page asks Locust every 0.5 s: four of each are the two seconds that it may take."""
    ui = start_locust("-f", CONNECTIONS, "--host", pretended_service.url, "--autostart", "-u", "2")
    page = browser.new_page()
    page.goto(ui.url)
    row = page.get_by_role("table", name="Workers now").get_by_role("row").filter(has_text="host:b")
    expect(row).to_contain_text("serving")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/service/state") else None)
    a = pretended("host:a")
    pretended_service.holds_next = True  # a worker that is stopped may hold an answer
    for states, words in (
        ([a, pretended("host:b", state="frozen", stalled_ms=700)], "frozen for 0.7 s"),
        ([a, pretended("host:b", state="frozen", stalled_ms=100, silent=True)], "silent for 0.1 s"),
        ([a], "dead, "),
    ):
        pretended_service.states, told = states, pretended_service.told
        asked.clear()
        page.wait_for_function(
            "words => document.querySelector('#service .workers').innerText.includes(words)", arg=words
        )
        assert pretended_service.told - told <= 4
        assert len(asked) <= 4
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()


def test_the_lesson_is_chosen_and_each_scenario_says_what_it_asks(
    pretended_service: PretendedService, start_locust: StartLocust, browser: Browser
) -> None:
    ui = start_locust("-f", LESSON, "--host", pretended_service.url)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(ui.url)
    radios = page.get_by_role("radio")
    expect(radios).to_have_count(14)
    expect(page.get_by_role("radio", checked=True)).to_have_count(1)
    expect(page.get_by_label("The lesson: one scenario after the other")).to_be_checked()
    expect(page.get_by_label("Number of users")).to_be_hidden()
    page.screenshot(path=SHOTS / "locust-start.png")
    page.get_by_label("What do many clients cost that are connected and say little?").check()
    expect(page.get_by_label("Number of users")).to_have_value("1000")
    expect(page.get_by_text("Each of 1,000 users keeps its connection")).to_be_visible()
    expect(page.get_by_text("Two minutes")).to_be_hidden()
    page.get_by_label("Number of users").fill("40")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("tab", name="Service")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("status")).to_contain_text("Many connections that say little.", timeout=15_000)
    row = page.get_by_role("table", name="Workers now").get_by_role("row").filter(has_text="host:b")
    expect(row).to_contain_text("1 of 1 run, 2 wait")
    ui.wait_until(lambda: ui.stats()["user_count"] == 41)
    lefts = {tab.inner_text().lower(): tab.evaluate("tab => tab.offsetLeft") for tab in page.get_by_role("tab").all()}
    assert min(lefts, key=lambda name: int(lefts[name])) == "service"
    page.screenshot(path=SHOTS / "locust-scenario.png")
    page.close()


def test_the_page_of_a_locustfile_of_ones_own_has_the_tab_and_its_own_choice(
    pretended_service: PretendedService, start_locust: StartLocust, tmp_path: Path, browser: Browser
) -> None:
    locustfile = tmp_path / "mine.py"
    locustfile.write_text(
        "from locust import constant, task\n"
        "from loadtests.lesson import Lesson\nfrom loadtests.visitor import Ping, Visitor\n"
        "class Orders(Visitor):\n"
        '    """How many orders can be placed?\n\n    Look for `201`.\n    """\n'
        '    does = "placing orders"\n    crowd = 3\n    wait_time = constant(0.1)\n'
        "    @task\n    def order(self):\n        self.ask('/orders')\n"
    )
    ui = start_locust("-f", locustfile, "--host", pretended_service.url)
    page = browser.new_page()
    page.goto(ui.url)
    expect(page.get_by_role("radio")).to_have_count(1)
    expect(page.get_by_label("How many orders can be placed?")).to_be_checked()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("Placing orders.", timeout=15_000)
    page.close()


def test_rows_can_be_downloaded(pretended_service: PretendedService, start_locust: StartLocust, tmp_path: Path) -> None:
    ui = start_locust(
        *("-f", LESSON, "--host", pretended_service.url, "--scenario", "Regular"),
        *("--autostart", "-u", "20", "-r", "50", "--run-time", "7"),
    )
    ui.wait_until(lambda: len(ui.get("service/runs.json")) == 1)
    (row,) = ui.get("service/runs.json")
    assert (row["scenario"], row["workers"], row["users"], row["cpus"]) == ("Regular", 2, 20, 2)
    assert row["cpu_percent"] == [93.5, 31.0]
    assert row["ping_p50_ms"] > 0
    assert json.loads((tmp_path / "runs.jsonl").read_text()) == row


def test_names_of_short_stages_do_not_overlap_in_the_charts(
    pretended_service: PretendedService, start_locust: StartLocust, browser: Browser
) -> None:
    ui = start_locust("-f", LESSON, "--host", pretended_service.url, "--stage-s", "1", "--autostart")
    page = browser.new_page(viewport={"width": 700, "height": 900})
    page.goto(f"{ui.url}/?tab=charts")
    names = page.locator("[_echarts_instance_]").first.locator(".stage-mark:not([hidden]) span")
    expect(names).to_have_count(4, timeout=40_000)
    boxes = names.evaluate_all("names => names.map((name) => name.getBoundingClientRect().toJSON())")
    for one, other in combinations(boxes, 2):
        assert (
            one["right"] <= other["left"]
            or other["right"] <= one["left"]
            or one["bottom"] <= other["top"]
            or other["bottom"] <= one["top"]
        )
    page.screenshot(path=SHOTS / "locust-marks.png")
    page.close()
