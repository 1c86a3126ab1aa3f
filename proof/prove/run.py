"""Runs the experiments window by window, side by side, and gathers claims and law. Prints nothing."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from proof.prove.bench import Bench, generators, raise_file_limit
from proof.prove.client import ask
from proof.prove.evidence import Results
from proof.prove.experiment import Experiment, Scope
from proof.prove.experiments import EXPERIMENTS
from proof.prove.experiments.jobs import JOB_PATH
from proof.prove.experiments.scaling import points
from proof.prove.machine import describe
from proof.prove.proof import Options, Proof
from proof.prove.stage import Deployment, Stage, Staging, own_services
from proof.prove.usl import Law, fit_all
from proof.prove.window import Sample, Window

MOST_WORKERS = 8
"""Workers of the largest service that is started by default. Then 1 + 2 + 4 + 8 workers run at the same time."""

Step = Callable[[str, int, int], None]
"""Told the experiment, the windows measured, and the windows there are."""


def prove(options: Options, step: Step) -> Proof:
    began, machine = time.monotonic(), describe()
    counts = options.workers or default_counts(machine.cores)
    chosen = [experiment for name, experiment in EXPERIMENTS.items() if name in (options.only or EXPERIMENTS)]
    with (
        _stage(options, counts, runner=any(each.name == "jobs" for each in chosen)) as stage,
        generators(max(2, *counts)) as processes,
    ):
        scope = _scope(options, counts, machine.cores, stage)
        in_order = sorted(chosen, key=lambda experiment: not experiment.once)
        results = _measure(Bench(stage, processes), in_order, scope, options.repeat, step)
    return Proof(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        took_s=round(time.monotonic() - began, 1),
        machine=machine,
        options=options,
        scope=scope,
        results=results,
        claims={experiment.name: experiment.judge(results[experiment.name], scope) for experiment in chosen},
        law=_law(results.get("scaling", {}), scope),
    )


def _measure(bench: Bench, chosen: Sequence[Experiment], scope: Scope, repeat: int, step: Step) -> dict[str, Results]:
    plans = {
        experiment.name: list(_there_and_back(experiment.windows(scope), 1 if experiment.once else repeat))
        for experiment in chosen
    }
    done, total = 0, sum(map(len, plans.values()))
    results: dict[str, Results] = {}
    for name, windows in plans.items():
        samples: dict[str, list[Sample]] = {}
        for window in windows:
            step(name, done, total)
            samples.setdefault(window.name, []).append(bench.measure(window))
            done += 1
        results[name] = samples
    return results


def _there_and_back(windows: Sequence[Window], repeat: int) -> Iterator[Window]:
    """Repeat the windows forwards and backwards in turn, so that a machine that slows down does not look like a ratio."""
    for repetition in range(repeat):
        yield from windows if repetition % 2 == 0 else reversed(windows)


@contextmanager
def _stage(options: Options, counts: Sequence[int], *, runner: bool) -> Iterator[Stage]:
    if options.host:
        yield Deployment(options.host, options.ops_url)
    else:
        with own_services({1, *counts}, Staging(runner=runner)) as stage:
            yield stage


def _scope(options: Options, counts: tuple[int, ...], cores: int, stage: Stage) -> Scope:
    state = stage.state(1)
    plan, running = state["plan"], len(state["workers"])
    return Scope(
        counts=counts if stage.own else (running,),
        most=max((count for count in counts if count <= cores), default=1) if stage.own else running,
        users=options.users,
        seconds=options.seconds,
        ms=options.ms,
        connections=min(options.connections, raise_file_limit()),
        lane_bound=plan["cpu_lane_threads"]["value"] + plan["cpu_lane_queue"]["value"],
        own=stage.own,
        link=_make_link(stage.url(1)),
        jobs=_has_jobs(stage.url(1)),
    )


def default_counts(cores: int) -> tuple[int, ...]:
    """1, 2, 4 ... up to the cores, and once beyond them, to show where it ends."""
    most = min(cores, MOST_WORKERS)
    powers = {2**exponent for exponent in range(int(math.log2(most)) + 1)}
    return tuple(sorted({*powers, most, *([2 * cores] if 2 * cores <= MOST_WORKERS else [])}))


def _make_link(url: str) -> str:
    """Its code; empty where the deployment makes no links for us."""
    status, body = ask(url, "/links", body=b'{"url": "https://www.python.org/about/gettingstarted/"}')
    return str(json.loads(body)["code"]) if status == 201 else ""


def _has_jobs(url: str) -> bool:
    return ask(url, f"{JOB_PATH}?ms=1")[0] == 202


def _law(scaling: Results, scope: Scope) -> Law | None:
    return fit_all(points(scaling, scope))
