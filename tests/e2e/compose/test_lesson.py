"""`docker compose up`, Locust's page, one variable: the lesson in a browser, once with one worker and once with two."""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser import open_browser
from tests.e2e.compose.stack import Stack, eventually
from tests.loadtests.conftest import SHOTS

pytestmark = pytest.mark.drives("links", "lab")
STAGES = {
    "Stage 1 of 6: await asyncio.sleep in async def": r"Worker \d+ has (8|9|10)\d requests in flight at once",
    "Stage 2 of 6: time.sleep in async def": r"Worker \d+ has \d+ requests? waiting and has been frozen for \d\.\d s",
    "Stage 3 of 6: computing on the event loop": r"a ping takes [\d,]{2,5} ms",
    "Stage 4 of 6: computing in the thread pool": r"in flight at once and uses \d+ % of a core",
    "Stage 5 of 6: computing in the CPU lane": r"in flight at once and uses \d+ % of a core",
    "Stage 6 of 6: everyday work": r"\d{2,} answers a second",
}


@pytest.fixture
def locust(stack: Stack) -> Iterator[str]:
    stack.env |= {"LOCUST_STAGE_S": "6", "WEB_CONCURRENCY": "1"}
    stack.up()
    yield f"http://127.0.0.1:{stack.env['LOCUST_PORT']}"
    for name in ("LOCUST_STAGE_S", "WEB_CONCURRENCY"):
        del stack.env[name]
    stack.up()


def press_start_and_change_nothing(page: Page, url: str) -> None:
    page.goto(url)
    new = page.get_by_role("button", name="New", exact=True)
    if new.is_visible():
        new.click()
    page.get_by_role("button", name="Start", exact=True).last.click()


def generators(url: str) -> int:
    """How many processes make load; none while Locust starts again."""
    with suppress(httpx.TransportError):
        return int(httpx.get(f"{url}/stats/requests", trust_env=False).json().get("worker_count", 0))
    return 0


def runs(url: str) -> dict[tuple[str, int], dict[str, Any]]:
    rows = httpx.get(f"{url}/service/runs.json", trust_env=False).json()
    return {(row["scenario"], row["workers"]): row for row in rows}


@pytest.mark.timeout(600)
def test_one_press_of_start_is_a_lesson_and_another_worker_is_compared(stack: Stack, locust: str) -> None:
    said = stack.compose("logs", "--no-color", "locust").stdout
    assert f"Locust   {locust}   press Start once" in said
    assert f"Service  {stack.url} " in said
    with open_browser() as browser, browser.new_page(viewport={"width": 1280, "height": 900}) as page:
        press_start_and_change_nothing(page, locust)
        for number, (stage, words) in enumerate(STAGES.items(), 1):
            expect(page.get_by_role("status")).to_have_text(re.compile(rf"^{stage}\. .*{words}"), timeout=60_000)
            page.screenshot(path=SHOTS / f"compose-lesson-{number}.png")
        expect(page.get_by_role("status")).to_contain_text("The run is over", timeout=60_000)
        expect(page.get_by_role("status")).to_contain_text("WEB_CONCURRENCY=2 docker compose up")
        stack.env["WEB_CONCURRENCY"] = "2"
        stack.up("api")
        eventually(lambda: len(stack.workers()["workers"]) == 2)
        stack.compose("restart", "locust", "locust-worker")
        eventually(lambda: generators(locust) == 1)
        press_start_and_change_nothing(page, locust)
        lane = page.get_by_role("article").filter(has_text="computing in the CPU lane")
        expect(lane).to_contain_text(
            re.compile(r"[\d.]+/s with 1 worker, [\d.]+/s with 2 workers: \d+\.\d times"), timeout=120_000
        )
        page.screenshot(path=SHOTS / "compose-lesson-compared.png", full_page=True)
    left = runs(locust)
    assert left["Awaiting", 1]["in_flight"] > 90
    assert left["Blocking", 1]["answers_per_s"] <= 21
    assert left["Blocking", 1]["ping_p50_ms"] > 3 * left["Awaiting", 1]["ping_p50_ms"]
    assert left["Blocking", 2]["answers_per_s"] > 1.4 * left["Blocking", 1]["answers_per_s"]
