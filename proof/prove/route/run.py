"""Measures routes: alone, in company and beside a ping, with each number of workers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proof.prove.bench import Bench, generators
from proof.prove.machine import describe
from proof.prove.own_service import ROOT
from proof.prove.route.cpu import wait_until_idle
from proof.prove.route.events import LabEvents
from proof.prove.route.measured import Findings, Measured
from proof.prove.route.probe import ServiceProbe
from proof.prove.route.route import Route
from proof.prove.route.verdict import UNTOLD, judge
from proof.prove.run import default_counts
from proof.prove.stage import Deployment, Stage, Staging, own_services
from proof.prove.window import Window

FEW = 8
MOST = 64
"""Users in company. A route that uses Postgres gets three for each connection, so that the pool can be full."""
PATIENCE = 2
"""Rounds for a route that gives no answer."""
LEAST, MOST_ROUNDS = 6, 8
"""Answers that a verdict rests on at least. A slow route gets further rounds until it has given them."""
POSTGRES = {"log_statement": "all"}
LOOP_BLOCKED_MS = "25"

Step = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Asked:
    routes: Sequence[Route]
    workers: tuple[int, ...] = ()
    seconds: float = 1.5
    rounds: int = 3
    project: Path = ROOT
    variables: dict[str, str] = field(default_factory=dict)
    host: str | None = None
    ops_url: str | None = None


def measure_routes(asked: Asked, step: Step) -> list[Findings]:
    with generators(2) as processes:
        if asked.host:
            there = Deployment(asked.host, asked.ops_url)
            with LabEvents(asked.ops_url or asked.host) as events:
                measuring = _Measuring(Bench(there, processes), there, asked, events)
                return _each(measuring, asked.routes, [len(there.state(1)["workers"])], step)
        counts = sorted({1, *(asked.workers or default_counts(describe().cores))})
        variables = {"LOOP_BLOCKED_MS": LOOP_BLOCKED_MS, **asked.variables}
        with own_services(counts, Staging(asked.project, variables, POSTGRES)) as own:
            return _each(_Measuring(Bench(own, processes), own, asked), asked.routes, counts, step)


def _each(measuring: "_Measuring", routes: Sequence[Route], counts: Sequence[int], step: Step) -> list[Findings]:
    quiet = measuring.measure("nobody", None, users=0, workers=counts[0])
    found = []
    for number, route in enumerate(routes):
        step(str(route), number, len(routes))
        findings = _once(measuring, quiet, route, counts)
        if judge(route, findings).kind == UNTOLD and findings.alone.done:
            findings = _once(measuring, quiet, route, counts)  # a busy machine may be calmer the next moment
        found.append(findings)
    return found


def _once(measuring: "_Measuring", quiet: Measured, route: Route, counts: Sequence[int]) -> Findings:
    alone = measuring.measure("alone", route, users=1, workers=counts[0])
    users = _users(alone)
    return Findings(
        quiet, alone, {count: measuring.measure("company", route, users=users, workers=count) for count in counts}
    )


def _users(alone: Measured) -> int:
    pools = [worker["db_pool"] for worker in alone.seen.workers]
    uses_postgres = any(pool["in_use"] for pool in pools) or bool(alone.seen.statements)
    return min(MOST, max(FEW, 3 * max(pool["max"] for pool in pools))) if uses_postgres and pools else FEW


@dataclass
class _Measuring:
    bench: Bench
    stage: Stage
    asked: Asked
    events: LabEvents | None = None

    def measure(self, name: str, route: Route | None, *, users: int, workers: int) -> Measured:
        probe = ServiceProbe(self.stage, workers, self.events)
        measured = Measured(users * workers or 1, workers, probe.seen)
        load = route.load(users * workers, placed=self.stage.own and workers > 1) if route else None
        for number in range(MOST_ROUNDS):
            is_enough = not load or measured.done >= LEAST or (number > PATIENCE and not measured.done)
            if number >= self.asked.rounds and is_enough:
                break
            wait_until_idle(probe.pids)
            window = Window(name, self.asked.seconds, workers=workers, load=load, ping=True)
            measured.samples.append(self.bench.measure(window, probe))
        return measured
