"""Concurrency is not parallelism: CPU work grows with the workers up to the cores, awaiting hardly needs them."""

from proof.prove.claims import Claim, at_least, at_most, figure, ratios
from proof.prove.evidence import Evidence, Results, rates
from proof.prove.experiment import Experiment, Scope
from proof.prove.experiments.waiting import awaited
from proof.prove.window import Load, Window

JOB_MS = 20
"""Short, so that a window holds many and a job more or less does not count."""
USERS_A_WORKER = 4
"""Enough to keep the lane of a worker busy, and too few to fill its queue."""
SLEEP_MS = 100
SPIN_S = 0.5


def cpu(workers: int) -> str:
    return f"CPU, {workers} workers"


def _io(workers: int) -> str:
    return f"awaiting, {workers} workers"


def _machine(processes: int) -> str:
    return f"the machine, {processes} processes"


def _windows(scope: Scope) -> list[Window]:
    if not scope.own:
        return []
    ends = sorted({1, scope.most})
    return [
        *(_cpu_window(scope, workers) for workers in scope.counts),
        *(Window(_machine(count), SPIN_S, spin=count) for count in ends),
        *(Window(_io(count), scope.seconds, workers=count, load=awaited(scope.users, SLEEP_MS)) for count in ends),
    ]


def _cpu_window(scope: Scope, workers: int) -> Window:
    load = Load(f"/lab/cpu/in-lane?ms={JOB_MS}", USERS_A_WORKER * workers, placed=True)
    return Window(cpu(workers), scope.seconds, workers=workers, load=load)


def _judge(results: Results, scope: Scope) -> list[Claim]:
    obstacles = []
    if not scope.own:
        obstacles = ["a deployment has the number of workers it has"]
    elif scope.most == 1:
        obstacles = ["it takes two cores, and two workers, to see the second one work"]
    return [_parallelism(results, scope, obstacles), _concurrency(results, scope, obstacles)]


def _parallelism(results: Results, scope: Scope, obstacles: list[str]) -> Claim:
    most = scope.most
    machine = ratios(rates(results, _machine(most)), rates(results, _machine(1)))
    ceiling = figure(f"the machine itself, {most} processes / 1", machine.rounds, "times")
    falls_short = f"the machine itself did {ceiling.value:.2f} times the work on {most} cores"
    least = round(0.9 * most, 2)
    if max(machine.rounds, default=most) < least:
        obstacles = [*obstacles, falls_short]
    return Evidence(results, [cpu(1), cpu(most)]).claim(
        "parallelism",
        f"{most} workers do {most} times the CPU work of one.",
        compares=f"CPU jobs a second with {most} workers / with 1",
        bound=at_least(least),
        ratios=ratios(rates(results, cpu(most)), rates(results, cpu(1))),
        figures=[
            *(figure(f"{count} workers", rates(results, cpu(count)), "jobs/s") for count in scope.counts),
            ceiling,
        ],
        obstacles=obstacles,
        excuses=[falls_short] if ceiling.value < 0.95 * most else [],
    )


def _concurrency(results: Results, scope: Scope, obstacles: list[str]) -> Claim:
    one, most = (rates(results, _io(count)) for count in (1, scope.most))
    return Evidence(results, [_io(1), _io(scope.most)]).claim(
        "concurrency",
        "Awaiting hardly needs more workers: one serves the same users as fast.",
        compares=f"awaited requests a second with {scope.most} workers / with 1",
        bound=at_most(1.2),
        ratios=ratios(most, one),
        figures=[figure("1 worker", one, "requests/s"), figure(f"{scope.most} workers", most, "requests/s")],
        obstacles=obstacles,
    )


def points(results: Results, scope: Scope) -> list[list[tuple[int, float]]]:
    """Each round's throughput, by the workers that each have a core: beyond them it is the cores that end."""
    counts = [count for count in scope.counts if count <= scope.most]
    by_round = zip(*(rates(results, cpu(count)) for count in counts), strict=True) if counts else ()
    return [[(count, rate) for count, rate in zip(counts, values, strict=True) if rate > 0] for values in by_round]


EXPERIMENTS = [Experiment("scaling", "What does a second worker add?", _windows, _judge)]
