"""Requests that are due at a rate: their schedule, and what they see of an outage that users who wait hide."""

import itertools
import json
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from loadtests.schedule import due_times
from loadtests.times import percentile, two_digits
from tests.conftest import StartService
from tests.loadtests.conftest import ROOT

USERS = """
import gevent
from locust import constant, task
from loadtests.visitor import Arrivals, Visitor

class Waiting(Visitor):
    wait_time = constant(0.02)
    @task
    def ask_again(self):
        self.ask("/livez", name="closed")

class Coming(Arrivals):
    def arrive(self):
        self.ask("/livez", name="open", expect=(200, 503))  # after a second, some of those that wait are refused

class Queueing(Arrivals):
    most_at_once = 1
    def due_times(self):
        return [0.1] * 6
    def arrive(self):
        self.ask("/lab/sleep/awaited?ms=200", name="in turn")

class Outage(Visitor):
    fixed_count = 1
    wait_time = constant(60)
    @task
    def stand_still(self):
        gevent.sleep(2)
        self.ask("/lab/sleep/blocking?ms=1000", name="outage")
"""


def counts(kind: str, rate: float, seconds: int) -> list[int]:
    """Return the arrivals of each second."""
    due = itertools.takewhile(lambda at: at < seconds, due_times(lambda _: rate, kind))
    by_second = Counter(int(at) for at in due)
    return [by_second[second] for second in range(seconds)]


def test_constant_arrivals_are_evenly_spaced() -> None:
    due = list(itertools.islice(due_times(lambda _: 50, "constant"), 100))
    assert [b - a for a, b in itertools.pairwise(due)] == pytest.approx([0.02] * 99)


def test_poisson_arrivals_vary_as_much_as_their_rate() -> None:
    """Of a Poisson process the variance of the counts is their mean."""
    arrived = counts("poisson", 50, 2000)
    assert statistics.fmean(arrived) == pytest.approx(50, rel=0.03)
    assert statistics.variance(arrived) == pytest.approx(50, rel=0.3)


@pytest.mark.parametrize("kind", ["constant", "poisson"])
def test_rate_follows_its_shape(kind: str) -> None:
    due = itertools.takewhile(lambda at: at < 40, due_times(lambda now_s: 20 if now_s < 20 else 200, kind))
    by_half = Counter(at < 20 for at in due)
    assert by_half[True] == pytest.approx(400, rel=0.3)
    assert by_half[False] == pytest.approx(4000, rel=0.1)


def test_percentile_is_read_from_rounded_times() -> None:
    assert [two_digits(ms) for ms in (0.4, 99.6, 123.4, 9870.0)] == [0, 100, 120, 9900]
    assert percentile(Counter({2: 98, 900: 2}), 0.5) == 2
    assert percentile(Counter({2: 98, 900: 2}), 0.99) == 900
    assert percentile(Counter(), 0.99) is None


def test_an_outage_is_seen_by_arrivals_and_hidden_by_users_who_wait(
    start_service: StartService, tmp_path: Path
) -> None:
    locustfile = tmp_path / "outage.py"
    locustfile.write_text(USERS)
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        locustfile,
        "--host",
        start_service(1).url,
        "--headless",
    ]
    more: list[str | Path] = [
        "-u",
        "7",
        "-r",
        "50",
        "--run-time",
        "6",
        "--arrivals",
        "100",
        "--json-file",
        tmp_path / "run",
    ]
    done = subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    entries = {entry["name"]: entry for entry in json.loads((tmp_path / "run.json").read_text())}
    took_ms = {
        name: Counter({int(ms): count for ms, count in entry["response_times"].items()})
        for name, entry in entries.items()
    }
    tail_ms = {name: percentile(took_ms[name], 0.95) or 0 for name in ("open", "closed")}
    assert tail_ms["open"] > 5 * tail_ms["closed"], tail_ms
    assert entries["in turn"]["max_response_time"] > 4 * entries["in turn"]["min_response_time"]
