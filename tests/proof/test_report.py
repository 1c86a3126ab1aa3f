"""The report in a real browser, and the pictures as files, from a proof whose figures are made up."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from playwright.sync_api import Browser, Page, expect

from proof.prove.charts import CHARTS
from proof.prove.experiment import Scope
from proof.prove.experiments import EXPERIMENTS
from proof.prove.experiments.arrivals import CLOSED, OPEN
from proof.prove.experiments.limits import CROWDED, FULL
from proof.prove.experiments.placement import PLACES
from proof.prove.experiments.waiting import THOUSAND, await_name, block_name
from proof.prove.machine import Machine
from proof.prove.pictures import draw
from proof.prove.proof import Options, Proof
from proof.prove.report import write
from proof.prove.usl import fit
from proof.prove.window import Percentiles, Sample, Use, Window
from tests.proof.conftest import SHOTS

SCOPE = Scope(
    counts=(1, 2, 4), most=2, users=100, seconds=1.5, connections=10_000, lane_bound=17, link="abcd", jobs=True
)
RATES = {
    **{await_name(users): users * 19.5 for users in (1, 10, 100)},
    THOUSAND: 1950.0,
    **{block_name(users): 19.7 for users in (1, 10, 100)},
    "CPU, 1 workers": 19.8,
    "CPU, 2 workers": 38.9,
    "CPU, 4 workers": 39.2,
    "the machine, 1 processes": 1000.0,
    "the machine, 2 processes": 1985.0,
    "awaiting, 1 workers": 985.0,
    "awaiting, 2 workers": 991.0,
    "1 following": 1200.0,
    "32 following": 9800.0,
}
PINGS_MS = {
    "nothing": 1.4,
    "awaited": 1.6,
    "blocking": 202.0,
    "on the loop": 205.0,
    "as a job": 3.0,
    **dict(zip(PLACES, (204.0, 61.0, 5.2, 2.2), strict=True)),
}
LATENCIES_MS = {OPEN: 480.0, CLOSED: 7.0, "all": 53.0, CROWDED: 880.0, "as a job": 6.0}


def _sample(window: Window) -> Sample:
    rate = RATES.get(window.name, 20.0)
    latency_ms = LATENCIES_MS.get(window.name, 51.0)
    return Sample(
        window.name,
        workers=window.spin or window.workers,
        seconds=window.seconds,
        done=10_000 if window.name == FULL else round(rate * window.seconds),
        statuses={"200": round(rate * window.seconds), **({"503": 90} if window.name == CROWDED else {})}
        if window.load
        else {},
        latency_ms=Percentiles(latency_ms, latency_ms, latency_ms, latency_ms),
        ping_ms=Percentiles(1, PINGS_MS.get(window.name, 0.0), 300) if window.ping else Percentiles(),
        by_worker={"host:4711": 61, "host:4712": 55},
        connected=10_000 if window.name == FULL else 0,
        memory_mb=(232.0 if window.name == FULL else 82.0) if window.memory else 0.0,
        # One window whose generator could not keep up, so that a verdict of each kind is seen.
        generator=Use(cpu=0.97 if window.name == "32 following" else 0.1),
    )


@pytest.fixture(scope="module")
def proof() -> Proof:
    results = {
        name: {window.name: [_sample(window)] * 3 for window in experiment.windows(SCOPE)}
        for name, experiment in EXPERIMENTS.items()
    }
    return Proof(
        made_at="2026-11-23T12:00:00+00:00",
        took_s=180.0,
        machine=Machine(cores=2, system="Linux", python="3.13.0"),
        options=Options(),
        scope=SCOPE,
        results=results,  # type: ignore[arg-type]
        claims={name: experiment.judge(results[name], SCOPE) for name, experiment in EXPERIMENTS.items()},
        law=fit([(1, 19.8), (2, 38.9)]),
    )


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    with browser.new_page(viewport={"width": 1100, "height": 900}, color_scheme=request.param) as page:
        yield page


def test_report_shows_every_claim_and_its_verdict(proof: Proof, tmp_path: Path, page: Page) -> None:
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    report, _ = write(proof, tmp_path)
    page.goto(report.as_uri())
    rows = page.locator("#verdicts tbody tr")
    expect(rows).to_have_count(17)
    expect(rows.filter(has_text="Nothing in the redirect blocks")).to_contain_text("cannot be told here")
    expect(rows.filter(has_text="2 workers do 2 times")).to_contain_text("proved")
    expect(page.locator("#parallelism tr").filter(has_text="4 workers")).to_contain_text("39.3")
    expect(page.locator("#hot-path")).to_contain_text("the load generator was saturated (97% of a core)")
    expect(page.locator("figure svg[role=img]")).to_have_count(len(CHARTS))
    expect(page.get_by_text("This is an extrapolation")).to_be_visible()
    assert asked == [report.as_uri()]  # offline: nothing else is fetched
    assert not complaints
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    page.screenshot(path=SHOTS / f"report-{'dark' if dark else 'light'}.png", full_page=True)


def test_report_fits_a_phone(proof: Proof, tmp_path: Path, browser: Browser) -> None:
    report, _ = write(proof, tmp_path)
    with browser.new_page(viewport={"width": 390, "height": 800}) as page:
        page.goto(report.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.screenshot(path=SHOTS / "report-phone.png")


def test_proof_is_read_as_it_was_written(proof: Proof, tmp_path: Path) -> None:
    _, path = write(proof, tmp_path)
    again = Proof.read(path)
    assert [claim.verdict for claim in again.all_claims] == [claim.verdict for claim in proof.all_claims]
    assert again.law == proof.law
    assert again.to_json() == proof.to_json()


def test_pictures_are_drawings_with_their_own_ink(proof: Proof, tmp_path: Path, browser: Browser) -> None:
    pictures = draw(proof, tmp_path)
    assert [path.name for path in pictures] == [f"{chart.name}.svg" for chart in CHARTS]
    for path in pictures:
        assert ET.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    images = "".join(f'<p><img src="{path.as_uri()}" width="700"></p>' for path in pictures)
    for scheme, paper in (("light", "#fff"), ("dark", "#0d1117")):
        sheet = tmp_path / f"{scheme}.html"
        sheet.write_text(f'<body style="background:{paper}">{images}')
        with browser.new_page(color_scheme=scheme) as page:  # type: ignore[arg-type]
            page.goto(sheet.as_uri())
            assert page.evaluate("[...document.images].every(image => image.naturalWidth > 300)")
            page.screenshot(path=SHOTS / f"pictures-{scheme}.png", full_page=True)
