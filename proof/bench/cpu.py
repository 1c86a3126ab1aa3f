"""A route that computes, beside the redirect and on more workers."""

import threading
from statistics import median

from proof.bench.client import Result
from proof.bench.deployment import ITERATIONS_PER_MS, Backends, Deployment, deployment
from proof.bench.generator import at_rate, saturate
from proof.bench.routes import Progress
from proof.bench.servers import SERVERS

JOB_MS = 50
JOBS_AT_ONCE = 4
"""Jobs under way at once for each worker."""
REDIRECTS_PER_S = 25
"""More than the textbook can do meanwhile would only measure how long its queue gets."""
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


def over_workers(backends: Backends, *, rounds: int, seconds: int, progress: Progress) -> dict[int, float]:
    """CPU jobs a second of ours with one worker and with two."""
    with (
        deployment("ours", backends, LAB_ENABLED="1") as one,
        deployment("ours", backends, workers=2, LAB_ENABLED="1") as two,
    ):
        rates: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(rounds):
            for workers, server in ((1, one), (2, two)):
                progress(f"CPU work, {workers} workers")
                rates[workers].append(_compute(server, JOBS_AT_ONCE * workers, seconds).rps)
    return {workers: median(each) for workers, each in rates.items()}
