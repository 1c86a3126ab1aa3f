"""`python -m loadtests.pictures`: the pictures of docs/locust.md and README, of a lesson with one worker and one with two.

It needs a chromium (`CHROMIUM`, or on the PATH) and four minutes.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page

from loadtests.address import is_ready
from local.browser import find_chromium, open_browser
from local.places import ROOT
from local.process import LocalError, free_port, spawn, terminate

FOLDER = ROOT / "docs" / "pictures"
WIDTH, HEIGHT, LIVE_HEIGHT = 1180, 640, 760
LIVE_S = 3
START_S, LESSON_S = 180, 240
STAGE_S = 15


def main() -> None:
    chromium = find_chromium()
    with tempfile.TemporaryDirectory() as folder, open_browser(chromium) as browser:
        runs = str(Path(folder) / "runs.jsonl")
        with _locust(workers=1, runs=runs) as (url, _):
            _first(browser, url)
        with _locust(workers=2, runs=runs) as (url, service):
            _second(browser, url, service)


@contextmanager
def _locust(*, workers: int, runs: str) -> Iterator[tuple[str, str]]:
    """Start the service and Locust's page as `make locust` does, and yield the addresses of the page and of the service."""
    port, service_port = free_port(), free_port()
    variables = {"WEB_CONCURRENCY": str(workers), "PORT": str(service_port), "LOCUST_RUNS": runs}
    command = [sys.executable, "-m", "loadtests", "--web-port", str(port), "--stage-s", str(STAGE_S)]
    process = spawn(command, cwd=ROOT, env=os.environ | variables, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_S
        while not is_ready(f"http://127.0.0.1:{port}", "/"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise LocalError("Locust did not start: run make locust to see why.")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{service_port}"
    finally:
        terminate(process, signal.SIGINT, within_s=60)


def _first(browser: Browser, url: str) -> None:
    """Press Start once: the page before it, and a frozen worker in the middle of the second stage."""
    page = _page(browser, url)
    _picture(page, "locust-start")
    _press_start(page)
    frozen = page.get_by_role("status").filter(has_text="Stage 2 of 6").filter(has_text="has been frozen for")
    frozen.wait_for(timeout=LESSON_S * 1000)
    page.wait_for_timeout(STAGE_S * 400)  # for something to see in the charts
    frozen.wait_for()
    _picture(page, "locust-lesson")
    _wait_until_over(page)
    page.close()


def _second(browser: Browser, url: str, service: str) -> None:
    """Press Start again: the rows of both runs under each other, and the live page after a press of a button."""
    page = _page(browser, url)
    _press_start(page)
    _wait_until_over(page)
    page.get_by_text("computing on the event loop", exact=True).evaluate("row => row.scrollIntoView()")
    _picture(page, "locust-compared")
    page.close()
    _live(browser, service)


def _live(browser: Browser, service: str) -> None:
    """Press one button of the lab: blocking calls in the bars of both workers, and the line that blocks them."""
    page = browser.new_page(viewport={"width": WIDTH, "height": LIVE_HEIGHT}, color_scheme="light")
    page.goto(f"{service}/lab")
    page.locator(".lane").nth(1).wait_for()
    page.wait_for_timeout(LIVE_S * 1000)  # for the workers to learn that somebody looks
    page.get_by_role("button", name="sleep, blocking").click()
    page.locator(".culprit").first.wait_for()
    page.wait_for_timeout(LIVE_S * 1000)
    _picture(page, "lab-live")
    page.close()


def _page(browser: Browser, url: str) -> Page:
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
    page.goto(url)
    page.get_by_role("radio", name="The lesson").wait_for()
    return page


def _press_start(page: Page) -> None:
    page.get_by_role("button", name="Start", exact=True).click()


def _wait_until_over(page: Page) -> None:
    page.get_by_role("status").filter(has_text="The run is over").wait_for(timeout=LESSON_S * 1000)


def _picture(page: Page, name: str) -> None:
    page.screenshot(path=FOLDER / f"{name}.png")


if __name__ == "__main__":
    try:
        main()
    except LocalError as reason:
        sys.exit(f"pictures: {reason}")
