"""`python -m proof.recording`: the lab's tour as reports/lab.html, a recording with the page that plays it.

It needs a chromium (`CHROMIUM`, or on the PATH) and a minute. `make docs ARGS=--record` puts the page into the site.
"""

import os
import shutil
import sys

from playwright.sync_api import sync_playwright

from local.places import ROOT
from local.process import LocalError
from proof.prove.stage import own_services
from proof.recording.page import make_page
from proof.recording.tour import record

PAGE = ROOT / "reports" / "lab.html"
WORKERS = 2
BROWSER = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def main() -> None:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise LocalError("no chromium is on the PATH and none is in CHROMIUM, so there is nothing to record with.")
    with own_services({WORKERS}) as stage, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=BROWSER)
        recording = record(browser.new_page(viewport={"width": 1280, "height": 900}), stage.url(WORKERS))
        browser.close()
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(make_page(recording))
    print(f"Wrote {PAGE.relative_to(ROOT)}: {PAGE.stat().st_size // 1000} kB")


if __name__ == "__main__":
    try:
        main()
    except LocalError as reason:
        sys.exit(f"recording: {reason}")
