"""A route that computes, beside the redirect and on more workers."""

import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import median

from proof.bench.client import Result
from proof.bench.deployment import ITERATIONS_PER_MS, Backends, Deployment, deployment
from proof.bench.generator import at_rate, saturate
from proof.bench.routes import Progress
from proof.bench.servers import SERVERS
from proof.prove.generate import run_spin

JOB_MS = 50
JOBS_AT_ONCE = 4
"""Jobs under way at once for each worker."""
REDIRECTS_PER_S = 25
"""More than the textbook can do meanwhile would only measure how long its queue gets."""
SPIN_STARTS_S = 1.0
"""Seconds in which the processes start, before they compute."""
IN_LANE, IN_TEXTBOOK = f"/lab/cpu/in-lane?ms={JOB_MS}", f"/cpu?iterations={JOB_MS * ITERATIONS_PER_MS}"


def beside_redirects(
    backends: Backends, *, rounds: int, seconds: int, progress: Progress
) -> dict[str, list[tuple[Result, Result]]]:
    """The CPU jobs and the redirects meanwhile, by server. One worker each, as in `routes`."""
    with (
        deployment("ours", backends, LAB_ENABLED="1") as ours,
        deployment("textbook", backends) as textbook,
    ):
        found: dict[str, list[tuple[Result, Result]]] = {"ours": [], "textbook": []}
        for number in range(rounds):
            for server in (ours, textbook) if number % 2 else (textbook, ours):
                progress(f"redirect beside CPU work, {server.name}")
                found[server.name].append(both(server, seconds))
    return found


def both(server: Deployment, seconds: int) -> tuple[Result, Result]:
    """Return the jobs of one worker that has its lab, and the redirects beside them."""
    jobs: list[Result] = []
    load = threading.Thread(target=lambda: jobs.append(_compute(server, JOBS_AT_ONCE, seconds)))
    load.start()
    paths = [f"/r/{code}" for code in server.codes]
    redirects = at_rate(server.url, paths, connections=8, seconds=seconds - 0.5, rate=REDIRECTS_PER_S)
    load.join()
    return jobs[0], redirects


def _compute(server: Deployment, connections: int, seconds: int) -> Result:
    path = IN_TEXTBOOK if SERVERS[server.name].is_textbook else IN_LANE
    return saturate(server.url, [path], connections=connections, seconds=seconds)


def over_workers(
    backends: Backends, *, rounds: int, seconds: int, progress: Progress
) -> tuple[dict[int, float], dict[int, float]]:
    """Return CPU jobs a second of ours with one worker and with two, and what as many bare processes do, which is the limit."""
    with (
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes,
        deployment("ours", backends, LAB_ENABLED="1") as one,
        deployment("ours", backends, workers=2, LAB_ENABLED="1") as two,
    ):
        jobs, turns = ({1: list[float](), 2: list[float]()} for _ in range(2))
        for _ in range(rounds):
            for workers, server in ((1, one), (2, two)):
                progress(f"CPU work, {workers} workers")
                jobs[workers].append(_compute(server, JOBS_AT_ONCE * workers, seconds).rps)
                turns[workers].append(_spin(processes, workers, seconds))
    return _medians(jobs), _medians(turns)


def _medians(rates: dict[int, list[float]]) -> dict[int, float]:
    return {workers: median(each) for workers, each in rates.items()}


def _spin(processes: ProcessPoolExecutor, count: int, seconds: int) -> float:
    begin = time.monotonic() + SPIN_STARTS_S
    return sum(each.result() for each in [processes.submit(run_spin, begin, begin + seconds) for _ in range(count)])
