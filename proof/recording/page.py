"""The lab's own page as one file that asks nobody for anything: its parts, the recording, and what plays it."""

import json
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

from local.places import ROOT

PARTS = ROOT / "brigade" / "lab" / "page"
PLAY = [Path(__file__).with_name(name) for name in ("seed.js", "play.js")]
LINKS = re.compile(r' <a href="docs.*(?=</p>)')
POLICY = "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src data:"
STYLE = """
.recording { display: flex; flex-wrap: wrap; align-items: center; gap: 0.4rem 1rem; padding-top: 1rem; }
.connection, [hidden] { display: none !important; }
"""
LINE = """<section class="recording" aria-label="Recording">
  <p id="recorded">This is a recording, and playing it takes JavaScript.</p>
  <button type="button" id="tour">Play the tour</button>
  <button type="button" id="pause">Pause</button>
</section>

"""


def make_page(recording: dict[str, Any]) -> str:
    page = re.sub(r"^<(link|script|noscript)\b.*\n", "", (PARTS / "index.html").read_text(), flags=re.M)
    page = LINKS.sub(" In a clone, <code>make run</code> serves the live page at <code>/lab</code>.", page)
    return page.replace("</head>", f"{_head(recording)}</head>").replace("<main>", f"{LINE}<main>")


def _head(recording: dict[str, Any]) -> str:
    """Modules name each other by an import map, because a browser reads no module from a file."""
    modules = {f"lab/{part.name}": _module(part) for part in (*sorted(PARTS.glob("*.js")), *PLAY)}
    styles = "".join((PARTS / name).read_text() for name in ("style.css", "measure.css"))
    icon = _data("image/svg+xml", (PARTS / "icon.svg").read_text())
    told = json.dumps(recording, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<link rel="icon" href="{icon}">\n'
        f"<style>\n{styles}{STYLE}</style>\n"
        f'<script type="importmap">{json.dumps({"imports": modules})}</script>\n'
        f'<script type="application/json" id="recording">{told}</script>\n'
        '<script type="module">import "lab/seed.js"; import "lab/play.js"; import "lab/main.js";</script>\n'
    )


def _module(part: Path) -> str:
    return _data("text/javascript", part.read_text().replace('from "./', 'from "lab/'))


def _data(kind: str, text: str) -> str:
    return f"data:{kind};base64,{b64encode(text.encode()).decode()}"
