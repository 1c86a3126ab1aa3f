"""The tour of the lab, and some rates of arrivals, taken once in a real browser, with all that the page was told meanwhile."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

SCRIPTS = [Path(__file__).with_name(name) for name in ("note.js", "seed.js")]
RATES = (10, 20, 30, 40)
"""Arrivals a second. Two lanes have room for some 50 of them."""
WINDOWS = 2
"""Windows of each rate; each is a point of the chart."""
IDLE_MS, WARM_MS, TAIL_MS = 3000, 1500, 1000
"""Before the first step: what is told of idle workers, after they have learnt that somebody looks. The workers tell the
last of a burst within the tail."""
STEP_S = 60
SLIDER = "document.getElementById('arrivals-rate')"

Part = dict[str, Any]


def record(page: Page, url: str, steps: int | None = None, rates: Sequence[int] = RATES) -> Part:
    """Return what the page was told while it took the first `steps` of the tour, and while so many a second arrived.

    Times are milliseconds since the part began.
    """
    for script in SCRIPTS:
        page.add_init_script(path=script)
    page.goto(f"{url}/lab")
    page.locator("#lanes > li").first.wait_for()
    page.wait_for_timeout(WARM_MS + IDLE_MS)
    idle_until = _now(page)
    spans = [_press(page, step) for step in range(steps or page.locator("#steps > li").count())]
    arrived = [(rate, *_arrive(page, rate)) for rate in rates]
    noted = page.evaluate("noted")
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan": next(data for _, kind, data in noted["events"] if kind == "plan"),
        "idle": _part(noted, idle_until - IDLE_MS, idle_until, {}),
        "bursts": [_burst(noted, noted["asked"][first:end], until) for first, end, until in spans],
        "arrivals": [_arrivals(noted, *one) for one in arrived],
    }


def _now(page: Page) -> float:
    return float(page.evaluate("performance.timeOrigin + performance.now()"))


def _press(page: Page, step: int) -> tuple[int, int, float]:
    """Take one step, and return where its requests are among all that the page has asked, and until when it was told of them."""
    first = int(page.evaluate("noted.asked.length"))
    page.locator("#steps .press").nth(step).click()
    page.locator("[data-running]").wait_for(state="detached", timeout=STEP_S * 1000)
    end = int(page.evaluate("noted.asked.length"))
    page.wait_for_timeout(TAIL_MS)
    return first, end, _now(page)


def _arrive(page: Page, rate: int) -> tuple[int, int, float]:
    """Move the slider and back, and return the place of its move among the moves, and what `_press` does."""
    asked = int(page.evaluate("noted.asked.length"))
    move = int(page.evaluate("noted.moved.length"))
    wanted = page.locator("#arrivals-chart circle").count() + WINDOWS
    slider = page.locator("#arrivals-rate")
    slider.fill(f"{rate}")
    enough = "wanted => document.querySelectorAll('#arrivals-chart circle').length >= wanted"
    page.wait_for_function(f"wanted => ({enough})(wanted) || !Number({SLIDER}.value)", arg=wanted)  # or it stops itself
    slider.fill("0")
    page.wait_for_function(
        "first => noted.asked.slice(first).every(({ path, ended }) => path === 'livez' || ended)", arg=asked
    )
    page.wait_for_timeout(TAIL_MS)
    return move, asked, _now(page)


def _arrivals(noted: Part, rate: int, move: int, first: int, until: float) -> Part:
    began, stopped = noted["moved"][move : move + 2]
    asked = [
        one for one in noted["asked"][first:] if one["id"] is None and one["path"] != "livez" and one["sent"] < until
    ]
    answers = [[round(one["ended"] - began, 1), one["ok"]] for one in asked]
    part = _part(noted, began, until, {})
    return {"rate": rate, "arrives": round(stopped - began), "answers": answers, **part}


def _burst(noted: Part, asked: list[Part], until: float) -> Part:
    requests = [one for one in asked if one["path"] != "livez"]
    began = requests[0]["sent"]
    numbers = {one["id"]: number for number, one in enumerate(requests)}
    part = _part(noted, began, until, numbers)
    answers = [[round(one["ended"] - began, 1), one["ok"]] for one in requests]
    return {"path": requests[0]["path"], "answers": answers, **part}


def _part(noted: Part, began: float, ended: float, numbers: dict[str, int]) -> Part:
    """Return what the page was told from `began` to `ended`. A request of a burst has its number instead of its id."""
    pings = [one for one in noted["asked"] if one["path"] == "livez" and one["ok"] and began <= one["sent"] < ended]
    return {
        "lasts": round(ended - began),
        "pings": [[round(one["sent"] - began, 1), round(one["ended"] - one["sent"], 1)] for one in pings],
        "events": [
            [round(at - began), kind, data if kind == "workers" else _since(began, data, numbers)]
            for at, kind, data in noted["events"]
            if kind != "plan" and began <= at < ended
        ],
    }


def _since(began: float, work: Part, numbers: dict[str, int]) -> Part:
    def ms(at: float | None) -> float | None:
        return None if at is None else round(at - began, 1)

    requests = [
        one
        | {"id": numbers.get(one["id"], one["id"]), "from": ms(one["from"]), "to": ms(one["to"])}
        | {"steps": [[kind, ms(begin), ms(end)] for kind, begin, end in one["steps"]]}
        for one in work["requests"]
    ]
    incidents = [one | {"at": round(one["at"] - began / 1000, 4)} for one in work["incidents"]]
    return work | {"now": ms(work["now"]), "requests": requests, "incidents": incidents}
