"""The line on top: what is measured, in words. And what is left of runs."""

import csv
import io
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from loadtests.machine import Machine
from loadtests.runs import Run, Runs, says
from loadtests.words import Second, as_link, line, over, state_words
from loadtests.workers import Workers
from tests.loadtests.conftest import pretended


def heard(*states: dict[str, Any], took_ms: float = 5, by: str = "host:a", workers: Workers | None = None) -> Workers:
    workers = workers or Workers()
    workers.hear(list(states), by, took_ms)
    return workers


def second(workers: Workers, *, ping_ms: float = 2, in_flight: int = 0, **more: Any) -> str:
    seen = workers.view(ping_ms, in_flight)
    figures = {"rate": 497.0, "failed": 0.0, "arrivals": 0.0, "p99_ms": None, **more}
    return line(Second(stage="Stage 2 of 6: `time.sleep` in `async def`", workers=seen, ping_ms=ping_ms, **figures))


def test_one_worker_that_serves() -> None:
    assert second(heard(pretended("host:a", in_flight=101))) == (
        "Stage 2 of 6: `time.sleep` in `async def`. Worker 1 has 100 requests in flight at once and uses 10 % of a core; "
        "497 answers a second; the event loop is up to 2.5 ms late; a ping takes 2.0 ms."
    )


def test_two_workers_that_serve() -> None:
    workers = heard(pretended("host:a", in_flight=51), pretended("host:b", in_flight=49))
    assert "2 workers have 50 and 49 requests in flight at once and use 10 and 10 % of a core" in second(workers)


def test_frozen_silent_and_dead_are_three_words() -> None:
    a, b, c = (pretended(f"host:{letter}") for letter in "abc")
    workers = heard(a, b, c)
    frozen = pretended("host:b", state="frozen", stalled_ms=1200, in_flight=25)
    silent = pretended("host:c", state="frozen", stalled_ms=2100, silent=True)
    words = second(heard(frozen, silent, workers=workers), ping_ms=1310)
    assert "Worker 2 has 25 requests waiting and has been frozen for 1.2 s." in words
    assert "Worker 3 has been silent for 2.1 s: its process is stopped" in words
    assert "Worker 1 died 0.0 s ago" in words
    assert words.endswith("; a ping takes 1,310 ms.")
    assert [state_words(each) for each in workers.view(0, 0)] == [
        "dead, 0.0 s ago",
        "frozen for 1.2 s",
        "silent for 2.1 s",
    ]


def test_a_worker_that_drained_is_gone_and_not_dead() -> None:
    workers = heard(pretended("host:a"), pretended("host:b", state="draining"))
    assert "Worker 2 is draining" in second(workers)
    assert [each.state for each in heard(pretended("host:a"), workers=workers).view(0, 0)] == ["serving", "gone"]
    assert "died" not in second(workers)


def test_the_only_worker_is_frozen_when_it_answers_neither_the_ping_nor_us() -> None:
    workers = heard(pretended("host:a"))
    workers.missing_since = time.monotonic() - 1.2
    assert "Worker 1 has 25 requests waiting and has been frozen for 1.2 s; a ping takes 1,310 ms." in second(
        workers, ping_ms=1310, in_flight=25
    )


def test_a_slow_answer_of_a_loop_that_turned_is_no_freeze() -> None:
    late = pretended("host:a", loop_lag_ms={"last_second": 950.0})
    assert [each.state for each in heard(pretended("host:a"), took_ms=900).view(2, 0)] == ["serving"]
    assert [each.state for each in heard(late, took_ms=900).view(2, 0)] == ["frozen"]


def test_a_freeze_is_told_a_little_longer_than_it_lasts() -> None:
    workers = heard(pretended("host:a"), pretended("host:b", state="frozen", stalled_ms=600, in_flight=12))
    workers.view(0, 0)
    heard(pretended("host:a"), pretended("host:b", in_flight=0), workers=workers)
    assert "Worker 2 has 12 requests waiting and was frozen for 0.6 s" in second(workers)


def test_a_frozen_worker_with_nothing_in_flight_has_nothing_waiting() -> None:
    words = second(heard(pretended("host:a"), pretended("host:b", state="frozen", stalled_ms=600, in_flight=0)))
    assert "Worker 2 has been frozen for 0.6 s" in words
    assert "waiting" not in words


def test_blocks_too_short_to_freeze_a_worker_make_its_loop_late() -> None:
    words = second(heard(pretended("host:a"), pretended("host:b", loop_lag_ms={"last_second": 231.5})))
    assert "the event loop is up to 232 ms late" in words


def test_a_second_is_not_judged_by_the_seconds_before_it() -> None:
    workers = heard(pretended("host:a"), took_ms=900)
    (worker,) = workers.view(2, 0)
    assert (worker.state, worker.told["loop_lag_ms"]["max"]) == ("serving", 950.0)
    assert "the event loop is up to 2.5 ms late" in second(workers)


@pytest.mark.parametrize(("workers", "other"), [(1, 2), (2, 1), (None, 1)])
@pytest.mark.parametrize("command", ["make locust", "docker compose up"])
def test_a_run_that_is_over_says_how_to_start_the_other(workers: int | None, other: int, command: str) -> None:
    assert f"`WEB_CONCURRENCY={other} {command}`" in over(workers, command)
    assert "`" not in over(workers, "")


def test_nothing_is_claimed_of_workers_that_no_longer_answer() -> None:
    workers = heard(pretended("host:a"), pretended("host:b"))
    workers.missing_since = time.monotonic() - 1.6
    assert "No worker has answered for 1.6 s; a ping takes" in second(workers)
    assert [state_words(each) for each in workers.view(0, 0)] == ["no answer for 1.6 s"] * 2
    workers.missing_since = None
    assert "2 workers have" in second(heard(pretended("host:a"), pretended("host:b"), workers=workers))


def test_it_says_when_others_take_the_cpu() -> None:
    alone, crowded = Machine(), Machine()
    for _ in range(5):
        alone.add(99, 180)
        crowded.add(99, 90)
    assert list(alone.warnings(2)) == []
    (words,) = crowded.warnings(2)
    assert "CPU is full, and 1.1 of its 2 cores go neither to the workers nor to Locust" in words


def test_arrivals_are_told_with_their_tail() -> None:
    words = second(heard(pretended("host:a")), arrivals=200.0, p99_ms=1010)
    assert (
        "200 requests a second arrive, whatever becomes of the earlier ones; 1 % of them take 1,010 ms or more" in words
    )


def test_failures_are_told() -> None:
    assert "40% of the answers are failures" in second(heard(pretended("host:a")), failed=0.4)


def run(workers: int, rate: float, **more: Any) -> Run:
    figures: dict[str, Any] = {
        "at": "2026-01-01T00:00:00+00:00",
        "scenario": "InLane",
        "does": "computing in the CPU lane",
        "seconds": 18,
        "workers": workers,
        "cpus": 2,
        "lane_threads": 1,
        "users": 8,
        "arrivals_per_s": 0,
        "answers_per_s": rate,
        "failed": 0,
        "ping_p50_ms": 2.0,
        "ping_p99_ms": 9.0,
        "in_flight": 8,
        "cpu_percent": [97.0, 96.0],
        "generator_cpu_percent": 5.0,
        "generator_limits": False,
    }
    return Run(**{**figures, **more})


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([run(1, 44), run(2, 83)], "44/s with 1 worker, 83/s with 2 workers: 1.9 times."),
        ([run(2, 83), run(1, 44)], "44/s with 1 worker, 83/s with 2 workers: 1.9 times."),
        ([run(1, 1.6), run(2, 3.4)], "1.6/s with 1 worker, 3.4/s with 2 workers: 2.1 times."),
        (
            [run(1, 988), run(1, 990), run(2, 991)],
            "990/s with 1 worker, 991/s with 2 workers: 1.0 times, which is the same.",
        ),
        ([run(1, 44)], "44/s with 1 worker, and no run yet with another number of workers."),
        (
            [run(1, 44), run(2, 40, others_cores=1.4)],
            "44/s with 1 worker, 40/s with 2 workers: 0.9 times, which is the same. "
            "Other programs took 1.4 cores meanwhile, so trust this little.",
        ),
        (
            [run(1, 0), run(2, 9)],
            "0/s with 1 worker, 9/s with 2 workers: no ratio, as one of the two answered nothing.",
        ),
    ],
)
def test_ratio_in_words(rows: list[Run], words: str) -> None:
    assert says(rows) == words


def test_rows_outlive_locust_and_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "below" / "runs.jsonl"
    Runs(path).add(run(1, 44))
    with path.open("a") as file:
        file.write('{"scenario": "of another version"}\n{"half')
    runs = Runs(path)
    runs.add(run(2, 83))
    assert [each.answers_per_s for each in Runs(path).rows] == [44, 83]
    assert [json.loads(text) for text in path.read_text().splitlines()] == [asdict(each) for each in runs.rows]
    rows = list(csv.DictReader(io.StringIO(runs.as_csv())))
    assert [(row["workers"], row["cpu_percent"]) for row in rows] == [("1", "97.0 96.0"), ("2", "97.0 96.0")]


LATE = """
from loadtests.lesson import Stage
from loadtests.measured import Figures
from loadtests.window import Window

class Regular:
    does = "asking"

window = Window(Stage(1, 1, Regular, 0, False))
for elapsed_s in (1.0, 2.0, 1.0, 4.0):
    window.add(Figures(elapsed_s=elapsed_s, answered=int(20 * elapsed_s)), [], 0.0)
print(window.run({}, 25).answers_per_s)
"""


def test_rate_is_by_the_time_that_passed_and_not_by_how_often_locust_looked() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("20.0\n", "")


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("http://:::8089", "http://[::1]:8089"),
        ("http://::1:8000", "http://[::1]:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://0.0.0.0:8089", "http://127.0.0.1:8089"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://links.example", "https://links.example"),
    ],
)
def test_an_address_of_compose_is_shown_as_a_browser_opens_it(url: str, link: str) -> None:
    assert as_link(url) == link
