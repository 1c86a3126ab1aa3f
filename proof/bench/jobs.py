"""Measures the cost of a job: the time to enqueue it, beside an insert without a queue, and the time and CPU of its runner.

`python -m proof.bench.jobs`; docs/jobs.md has the figures.
"""

import argparse
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil

from local.process import LocalError
from proof.arguments import one_or_more
from proof.prove.client import ask
from proof.prove.small_project import write_project
from proof.prove.stage import Staging, own_services

JOBS = 1000
WITHIN_S = 120.0
JOBS_SOURCE = """
from brigade import JobRun, job


@job()
async def nothing(run: JobRun) -> None:
    pass
"""
FEATURE = """
from fastapi import APIRouter

from brigade import Pg, acquire
from small.features.only.jobs import nothing

router = APIRouter()


@router.post("/insert")
async def insert(pg: Pg) -> None:
    async with acquire(pg) as connection, connection.transaction():
        await connection.execute("CREATE TEMPORARY TABLE IF NOT EXISTS plain (dish int)")
        await connection.execute("INSERT INTO plain VALUES (1)")


@router.post("/enqueue")
async def enqueue(pg: Pg, count: int = 1) -> None:
    async with acquire(pg) as connection, connection.transaction():
        await connection.execute("CREATE TEMPORARY TABLE IF NOT EXISTS plain (dish int)")
        for _ in range(count):
            await nothing.enqueue(connection)


@router.get("/left")
async def left(pg: Pg) -> int:
    async with acquire(pg) as connection:
        return await connection.fetchval("SELECT count(*) FROM pgqueuer")
"""


def _post_ms(url: str, path: str) -> float:
    began = time.perf_counter()
    status, said = ask(url, path, body=b"")
    if status != 200:
        raise LocalError(f"{path} answered {status}: {said.decode(errors='replace')}")
    return 1000 * (time.perf_counter() - began)


def _until_none_is_left(url: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while int(ask(url, "/left")[1]):
        if time.monotonic() > deadline:
            raise LocalError(f"Not all jobs were done within {WITHIN_S:g} s.")
        time.sleep(0.02)


def _runner() -> psutil.Process:
    living = (each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE)
    return next(each for each in living if each.cmdline()[-1:] == ["work"])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m proof.bench.jobs", description=__doc__)
    parser.add_argument("--jobs", type=one_or_more, default=JOBS, help=f"jobs that the runner does ({JOBS})")
    given = parser.parse_args(arguments)
    with TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)
        project = write_project(Path(folder), FEATURE, JOBS_SOURCE)
        with own_services({1}, Staging(project, runner=True)) as services:
            url, runner = services.url(1), _runner()
            pairs = [(_post_ms(url, "/insert"), _post_ms(url, "/enqueue")) for _ in range(100)]
            insert_ms, enqueue_ms = (median(column) for column in zip(*pairs, strict=True))
            _until_none_is_left(url)
            began, cpu_s = time.monotonic(), sum(runner.cpu_times()[:2])
            _post_ms(url, f"/enqueue?count={given.jobs}")
            _until_none_is_left(url)
            took_s, cpu_s = time.monotonic() - began, sum(runner.cpu_times()[:2]) - cpu_s
    print(f"a request that inserts a row {insert_ms:.1f} ms, one that enqueues a job {enqueue_ms:.1f} ms (p50 of 100)")
    print(
        f"{given.jobs:,} jobs that do nothing: {given.jobs / took_s:,.0f}/s, {1000 * cpu_s / given.jobs:.1f} ms of a runner's CPU each"
    )


if __name__ == "__main__":
    main()
