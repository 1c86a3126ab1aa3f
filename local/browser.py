"""The machine's own chromium, for the tests and for the commands that take pictures of pages."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from local.process import LocalError

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def find_chromium() -> str:
    """
    Raises:
        LocalError: There is none.
    """
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise LocalError("no chromium is on the PATH and none is in CHROMIUM, so no page can be opened.")
    return chromium


@contextmanager
def open_browser(chromium: str) -> Iterator[Browser]:
    """Playwright's event loop holds the thread meanwhile: whatever needs one of its own must have begun before."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()
