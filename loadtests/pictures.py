"""`python -m loadtests.pictures`: the pictures of docs/locust.md, of two lessons that it runs with one worker and with two.

It needs a chromium (`CHROMIUM`, or on the PATH) and four minutes.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from loadtests.address import is_ready
from local.places import ROOT
from local.process import LocalError, free_port, spawn, terminate

FOLDER = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 1180, 640
START_S, LESSON_S = 180, 240
STAGE_S = 15
BROWSER = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def main() -> None:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise LocalError("no chromium is on the PATH and none is in CHROMIUM, so there is nothing to look with.")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=BROWSER)
        runs = str(Path(folder) / "runs.jsonl")
        with _locust(workers=1, runs=runs) as url:
            _first(browser, url)
        with _locust(workers=2, runs=runs) as url:
            _second(browser, url)
        browser.close()


@contextmanager
def _locust(*, workers: int, runs: str) -> Iterator[str]:
    """Start the service and Locust's page as `make locust` does, and yield the address of the page."""
    port = free_port()
    variables = {"WEB_CONCURRENCY": str(workers), "PORT": str(free_port()), "LOCUST_RUNS": runs}
    command = [sys.executable, "-m", "loadtests", "--web-port", str(port), "--stage-s", str(STAGE_S)]
    process = spawn(command, cwd=ROOT, env=os.environ | variables, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_S
        while not is_ready(f"http://127.0.0.1:{port}", "/"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise LocalError("Locust did not start: run make locust to see why.")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
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


def _second(browser: Browser, url: str) -> None:
    """Press Start again: the rows of both runs under each other."""
    page = _page(browser, url)
    _press_start(page)
    _wait_until_over(page)
    page.get_by_text("computing on the event loop", exact=True).evaluate("row => row.scrollIntoView()")
    _picture(page, "locust-compared")
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
