"""`python -m proof.recording`: the lab's tour as reports/lab.html, a recording with the page that plays it.

It needs a chromium (`CHROMIUM`, or on the PATH) and a minute. `make docs ARGS=--record` puts the page into the site.
"""

import sys

from local.browser import find_chromium, open_browser
from local.places import ROOT
from local.process import LocalError
from proof.prove.stage import own_services
from proof.recording.page import make_page
from proof.recording.tour import record

PAGE = ROOT / "reports" / "lab.html"
WORKERS = 2


def main() -> None:
    chromium = find_chromium()
    with own_services({WORKERS}) as stage, open_browser(chromium) as browser:
        recording = record(browser.new_page(viewport={"width": 1280, "height": 900}), stage.url(WORKERS))
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(make_page(recording))
    print(f"Wrote {PAGE.relative_to(ROOT)}: {PAGE.stat().st_size // 1000} kB")


if __name__ == "__main__":
    try:
        main()
    except LocalError as reason:
        sys.exit(f"recording: {reason}")
