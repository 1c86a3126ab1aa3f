"""The browser of the tests: the machine's own chromium. Without one they are skipped, and say so."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect

from local import browser
from local.process import LocalError

expect.set_options(timeout=30_000)  # a bound for the machine's mood: the first figures once came after 5 s


@contextmanager
def open_browser() -> Iterator[Browser]:
    try:
        chromium = browser.find_chromium()
    except LocalError as reason:
        if os.environ.get("BRIGADE_E2E"):
            pytest.fail(str(reason))
        pytest.skip(str(reason))
    with browser.open_browser(chromium) as opened:
        yield opened
