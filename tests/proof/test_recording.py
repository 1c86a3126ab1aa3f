"""The recorded lab in a real browser without a network, against the live page from which it was recorded."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from proof.prove.stage import own_services
from proof.recording.page import make_page
from proof.recording.tour import record
from tests.browser import open_browser

ROOT = Path(__file__).parents[2]
STEPS, RATE = 2, 20
"""The first two of the tour, so that the test is short: a wait that is awaited, and one that blocks. And one rate."""


@dataclass(frozen=True)
class Recorded:
    """The browser, the file that it opens, and what the live page said as it was recorded."""

    browser: Browser
    file: Path
    plan: str
    blocked: str
    results: list[list[float]]
    arrivals: list[float]


def results(page: Page) -> list[list[float]]:
    """Return the milliseconds of each step that was taken: of its burst, and of the ping during it."""
    told = [page.locator("#steps .result").nth(step).inner_text() for step in range(STEPS)]
    figures = [re.findall(r"([\d.]+) (m?s)\b", text) for text in told]
    return [[float(number) * (1 if unit == "ms" else 1000) for number, unit in (one[0], one[-1])] for one in figures]


def arrivals(page: Page) -> list[float]:
    """Return what was predicted and measured of the last window of arrivals."""
    assert page.locator("#arrivals-chart circle").count() > 0
    cells = page.locator("#arrivals-figures td").all_inner_texts()
    return [float(number) for cell in cells for number in re.findall(r"[\d.]+", cell)]


def blocked(page: Page) -> str:
    return page.locator("#incidents [data-cause='blocking call']").inner_text()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    file = tmp_path_factory.mktemp("recorded") / "lab.html"
    with own_services({2}) as stage, open_browser() as browser:
        live = browser.new_page()
        file.write_text(make_page(record(live, stage.url(2), STEPS, [RATE])))
        yield Recorded(browser, file, live.locator("#plan").inner_text(), blocked(live), results(live), arrivals(live))


@pytest.fixture
def page(recorded: Recorded) -> Iterator[Page]:
    """Open without a network, with a clock that the test moves, and followed: nothing is asked, and no error is said."""
    context = recorded.browser.new_context(offline=True)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.clock.install()
    page.goto(recorded.file.as_uri())
    expect(page.locator("#steps > li")).to_have_count(6)
    yield page
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [recorded.file.as_uri()]
    context.close()


def test_the_tour_shows_the_figures_that_the_live_page_showed(recorded: Recorded, page: Page) -> None:
    page.clock.run_for(1000)
    expect(page.locator("#recorded")).to_contain_text(
        re.compile(r"recording of \d+ \w+ \d{4}, of 2 workers on \d+ cores")
    )
    assert page.locator("#plan").inner_text() == recorded.plan
    expect(page.locator("#lanes > li")).to_have_count(2)
    page.get_by_role("button", name="Play the tour").click()
    while page.locator("#steps [data-done]").count() < STEPS:
        page.clock.run_for(1000)
    page.clock.run_for(1500)
    for (took, ping), (live_took, live_ping) in zip(results(page), recorded.results, strict=True):
        assert took == pytest.approx(live_took, rel=0.05)  # a tenth of a second is a digit
        assert ping == pytest.approx(live_ping, rel=0.2, abs=20)  # one ping more or less at the ends
    assert blocked(page) == recorded.blocked


def test_arrivals_come_again_with_what_was_predicted_and_measured(recorded: Recorded, page: Page) -> None:
    page.clock.run_for(1000)
    slider = page.get_by_label("Arrivals", exact=True)
    assert slider.evaluate("slider => [slider.step, slider.max]") == [f"{RATE}"] * 2
    slider.fill(f"{RATE}")
    while slider.input_value() != "0":
        page.clock.run_for(500)
    page.clock.run_for(1500)
    assert arrivals(page) == pytest.approx(recorded.arrivals, rel=0.1)


def test_a_pause_stops_its_clock_and_what_was_not_recorded_is_not_offered(page: Page) -> None:
    page.clock.run_for(1000)
    paths = page.locator("#experiments button:visible").evaluate_all("each => each.map((one) => one.dataset.path)")
    assert paths == ["sleep/awaited", "sleep/blocking"]
    page.get_by_role("button", name="Pause").click()
    at = page.evaluate("performance.now()")
    assert at > 0
    page.clock.run_for(1000)
    assert page.evaluate("performance.now()") == at
    page.get_by_role("button", name="Go on").click()
    page.clock.run_for(1000)
    assert page.evaluate("performance.now()") > at


def test_without_a_browser_it_says_so_in_one_line() -> None:
    command = [sys.executable, "-m", "proof.recording"]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"recording: no chromium is on the PATH .*\n", done.stderr)


def test_axe_finds_nothing_in_the_recorded_page(page: Page) -> None:
    page.get_by_role("button", name="sleep, blocking").click()
    while not page.locator("#steps [data-done]").count():
        page.clock.run_for(1000)
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert [each["id"] for each in Axe().run(page).response["violations"]] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
