"""`python -m proof.recording`: the lab's tour, recorded in reports/lab.json and played by reports/lab.html.

It needs a chromium (`CHROMIUM`, or on the PATH) and a minute. `make docs ARGS=--record` puts the page into the site.
"""

import os
import shutil
import sys

from playwright.sync_api import sync_playwright

from local.places import ROOT
from local.process import LocalError
from proof.prove.stage import own_services
from proof.recording.page import compact, make_page
from proof.recording.tour import record

REPORTS = ROOT / "reports"
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
    REPORTS.mkdir(exist_ok=True)
    for name, text in (("lab.json", compact(recording)), ("lab.html", make_page(recording))):
        (REPORTS / name).write_text(text)
        print(f"Wrote reports/{name}: {len(text.encode()) // 1000} kB")


if __name__ == "__main__":
    try:
        main()
    except LocalError as reason:
        sys.exit(f"recording: {reason}")
