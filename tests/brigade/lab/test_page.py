"""The live page in a real browser, against a real service."""

import linecache
import os
import re
import signal
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from brigade.lab import routes
from tests.browser import open_browser
from tests.conftest import StartService
from tests.running import RunningService

LINE = re.compile(r"blocking call · routes\.py:\d+")


CUT = ("ERR_CONNECTION", "ERR_INCOMPLETE", "ERR_CONTENT_LENGTH_MISMATCH", "ERR_NETWORK_CHANGED")
"""Chromium says one of these of an answer whose worker was killed, by how much of it had come; and the last one of every
request that is under way while Docker makes or removes a network beside it.
"""


@pytest.fixture
def browser(start_service: StartService) -> Iterator[Browser]:  # Playwright's loop takes the thread: servers first
    with open_browser() as browser:
        yield browser


@pytest.fixture
def service(start_service: StartService) -> RunningService:
    return start_service(workers=2)


@pytest.fixture
def page(browser: Browser, service: RunningService) -> Iterator[Page]:
    """Open, and followed to the end of the test by the three promises: no error, nothing from elsewhere, no failure."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    said: list[str] = []
    asked: set[str] = set()
    page.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    page.goto(f"{service.url}/lab")
    expect(page.locator("#lanes > li")).to_have_count(2)
    yield page
    assert asked == {urlsplit(service.url).netloc}
    assert [line for line in said if not any(cut in line for cut in CUT)] == []
    context.close()


def pids(page: Page) -> list[int]:
    lanes = page.locator("#lanes > li").all()
    return sorted(int((lane.get_attribute("data-worker") or "").rpartition(":")[2]) for lane in lanes)


def press(page: Page, path: str) -> None:
    page.locator(f"#experiments button[data-path='{path}']").click()


def ended(page: Page) -> None:
    expect(page.locator("[data-running]")).to_have_count(0, timeout=60_000)


def ping_ms(page: Page, which: str) -> float:
    """From a sentence such as "... went from 1.2 ms to 0.4 s"."""
    said = page.locator("#seen").inner_text()
    found = re.search(r"went from ([\d.]+) (m?s) to ([\d.]+) (m?s)", said)
    assert found, said
    before, unit, during, unit_during = found.groups()
    in_ms = {"ms": 1.0, "s": 1000.0}
    return float(before) * in_ms[unit] if which == "before" else float(during) * in_ms[unit_during]


def test_there_is_a_lane_for_each_worker_and_the_plan_says_why(page: Page, service: RunningService) -> None:
    assert pids(page) == service.worker_pids()
    expect(page.locator("#plan")).to_contain_text("2 workers: as asked")
    expect(page.locator("#connection")).to_have_text("following 2 workers")
    expect(page.locator("#ping-p99")).to_contain_text("ms")


def test_a_killed_workers_lane_goes_within_five_seconds_and_its_successor_gets_one(
    page: Page, service: RunningService
) -> None:
    killed = service.worker_pids()[0]
    os.kill(killed, signal.SIGKILL)
    expect(page.locator(f"[data-worker$=':{killed}']")).to_have_count(0, timeout=5000)
    expect(page.locator("#lanes > li")).to_have_count(2)
    assert pids(page) == service.worker_pids()


def test_a_blocking_sleep_turns_red_and_names_its_line(page: Page) -> None:
    press(page, "sleep/blocking")
    label = page.locator(".culprit", has_text=LINE).first
    expect(label).to_be_visible(timeout=15_000)
    line = int((label.inner_text().partition("routes.py:")[2]).partition(" ")[0])
    assert "time.sleep(" in linecache.getline(routes.__file__, line)
    expect(page.locator("#incidents")).to_contain_text(f"brigade/lab/routes.py:{line} in sleep_blocking")
    expect(page.locator("#incidents")).to_contain_text("await an async version of this call")
    ended(page)
    assert red_pixels(page) > 200


def test_an_awaited_sleep_leaves_the_lanes_without_red(page: Page) -> None:
    press(page, "sleep/awaited")
    ended(page)
    expect(page.locator(".culprit", has_text=LINE)).to_have_count(0)
    expect(page.locator("#seen")).to_contain_text("Sleep, awaited: 20 requests")


def test_the_ping_rises_while_the_loops_are_held_and_falls_again(page: Page) -> None:
    press(page, "sleep/awaited")
    ended(page)
    awaited = ping_ms(page, "during")
    press(page, "sleep/blocking")
    ended(page)
    blocking = ping_ms(page, "during")
    assert blocking > 1.5 * awaited
    assert blocking > 1.5 * ping_ms(page, "before")
    expect(page.locator("#ping-p99")).not_to_have_attribute("data-level", "bad", timeout=20_000)


def test_the_tour_shows_the_ping_before_and_during_each_step(page: Page) -> None:
    steps = page.locator("#steps > li")
    expect(steps).to_have_count(6)
    expect(steps.nth(0)).to_have_attribute("aria-current", "step")
    steps.nth(0).get_by_role("slider").press("End")
    steps.nth(0).get_by_role("button").press("Enter")
    ended(page)
    expect(steps.nth(0).locator(".result")).to_contain_text("your guess5.0 s")
    expect(steps.nth(0).locator(".result")).to_contain_text("before")
    expect(steps.nth(0).locator(".result")).to_contain_text("during")
    expect(steps.nth(1)).to_have_attribute("aria-current", "step")
    steps.nth(5).get_by_role("button").click()
    ended(page)
    expect(steps.nth(5)).to_contain_text("2 workers: ")


def test_a_step_shows_the_code_that_runs_as_one_line_that_differs(page: Page) -> None:
    expect(page.locator("#steps ins")).to_have_count(6)
    changed = [step.locator("ins").all_inner_texts() for step in page.locator("#steps > li").all()]
    assert [[line.strip("+ \n") for line in lines] for lines in changed] == [
        ["await asyncio.sleep(task.ms / 1000)"],
        ["time.sleep(task.ms / 1000)"],
        ["async def route(task: LabTask) -> Answer:"],
        ["def route(task: LabTask) -> Answer:"],
        ["@on_cpu_lane"],
        ["@on_cpu_lane"],
    ]
    first = page.locator("#steps > li .source").first.inner_text().split("\n")
    assert [line[:1] for line in first if line] == [" ", "-", "+"]


def test_arrivals_follow_littles_law_and_draw_a_point_for_each_window(page: Page) -> None:
    page.locator("#arrivals-rate").fill("12")
    expect(page.locator("#arrivals-chart circle").nth(1)).to_be_attached(timeout=30_000)
    rows = page.locator("#arrivals-figures tr").all()
    utilisation, inside, took, p99 = [row.locator("td").all_inner_texts() for row in rows]
    assert float(inside[0]) == pytest.approx(float(inside[1]), rel=0.5, abs=0.2)
    predicted, measured = (int(share.removesuffix(" %")) for share in utilisation)
    assert 0 < measured <= 110
    assert predicted > 0  # more than all, where the machine gives the lane less than a core
    assert all("s" in cell for cell in (took[1], p99[1]))
    page.locator("#arrivals-rate").fill("0")
    expect(page.locator("#arrivals-said")).to_have_text("Nobody arrives.")


def test_it_goes_on_by_itself_after_a_reload_of_the_service(page: Page, service: RunningService) -> None:
    before = pids(page)
    os.kill(service.pid, signal.SIGHUP)
    expect(page.locator(f"[data-worker$=':{before[0]}']")).to_have_count(0, timeout=30_000)
    expect(page.locator("#lanes > li")).to_have_count(2, timeout=10_000)
    expect(page.locator("#connection")).to_have_text("following 2 workers", timeout=10_000)
    press(page, "sleep/awaited")
    ended(page)
    expect(page.locator("#seen")).to_contain_text("20 requests")


def test_axe_finds_nothing_light_or_dark_small_or_large(page: Page) -> None:
    press(page, "sleep/blocking")
    ended(page)
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        for media in ({"color_scheme": "light"}, {"color_scheme": "dark"}):
            page.emulate_media(**media)  # type: ignore[arg-type]
            violations = Axe().run(page).response["violations"]
            assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_page_of_a_lab_that_is_off_is_accessible_too(browser: Browser, start_service: StartService) -> None:
    service = start_service(workers=1, LAB_ENABLED=0)
    page = browser.new_page()
    page.goto(f"{service.url}/lab")
    expect(page.get_by_role("heading")).to_have_text("The lab is off")
    assert Axe().run(page).violations_count == 0
    assert httpx.get(f"{service.url}/lab/events").status_code == 404
    page.close()


def red_pixels(page: Page) -> int:
    """Of the colour of blocking, on the lanes' canvases."""
    count = page.evaluate(
        """() => {
          const probe = document.body.appendChild(document.createElement("i"));
          probe.style.color = "var(--blocked)";
          const [r, g, b] = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
          probe.remove();
          let count = 0;
          for (const canvas of document.querySelectorAll("#lanes .track canvas")) {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            for (let at = 0; at < data.length; at += 4) if (data[at] === r && data[at + 1] === g && data[at + 2] === b) count++;
          }
          return count;
        }"""
    )
    return int(count)
