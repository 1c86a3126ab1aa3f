"""The live page has a word of its own for a worker that is blocked, one that is stopped and one that is dead."""

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser import open_browser
from tests.conftest import StartService

pytestmark = pytest.mark.drives("lab")


def test_a_blocked_a_stopped_and_a_dead_worker_have_words_of_their_own(start_service: StartService) -> None:
    service = start_service(3)
    with ThreadPoolExecutor() as pool, open_browser() as browser, browser.new_page() as page:
        page.goto(f"{service.url}/lab")
        lanes = page.locator(".lane .state")
        expect(lanes).to_have_text(["serving"] * 3)
        blocked = pool.submit(httpx.get, f"{service.url}/lab/sleep/blocking?ms=5000&close=true", timeout=60)
        expect(page.locator("#seen")).to_contain_text(
            re.compile(r"is frozen for .*: its loop does not turn"), timeout=9000
        )
        assert blocked.result().is_success
        expect(lanes).to_have_text(["serving"] * 3)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/lab/events") else None)
        for victim in service.worker_pids():
            asked.clear()
            os.kill(victim, signal.SIGSTOP)
            # The page follows one of them. When that stands still, the browser asks another one, which takes a second.
            lane = page.locator(".lane", has_text=f"Worker {victim}")
            expect(lane.locator(".state")).to_have_text(re.compile("silent for"), timeout=20_000)
            assert len(asked) <= 4
            os.kill(victim, signal.SIGCONT)
            expect(lanes).to_have_text(["serving"] * 3, timeout=20_000)
        for victim in service.worker_pids():
            os.kill(victim, signal.SIGSTOP)
        expect(page.locator("#seen")).to_contain_text("No worker has told anything for", timeout=9000)
        for victim in service.worker_pids():
            os.kill(victim, signal.SIGCONT)
        expect(lanes).to_have_text(["serving"] * 3, timeout=20_000)
        os.kill(victim, signal.SIGKILL)
        expect(page.locator("#seen")).to_contain_text(f"Worker {victim} is dead", timeout=20_000)
