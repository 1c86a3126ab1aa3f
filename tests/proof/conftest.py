"""Where things are, and a real browser."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser import open_browser

ROOT = Path(__file__).parent.parent.parent
SHOTS = Path(os.environ.get("SCREENSHOTS", ROOT / "reports" / "screenshots"))


@pytest.fixture
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser
