"""`python -m proof.capacity`: what a load needs, from a part of a box to all of it; or, with --check, simulation beside measurement."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path

from rich.console import Console
from rich.table import Table

from local.process import LocalError
from proof.arguments import one_or_more
from proof.capacity.check import check
from proof.capacity.costs import Cost, read_costs
from proof.capacity.model import Boxes, Capacity, Load, walk
from proof.prove.evidence import CROWDED

REPORTS = (Path("reports/proof.json"), Path("reports/bench.json"))
AGREES = 0.2
"""Largest error of requests a second for which the simulation is believed."""


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    try:
        return _check(given, console) if given.check else _plan(given, console)
    except (LocalError, ValueError, OSError) as reason:
        sys.exit(f"capacity: {reason}")


def _plan(given: argparse.Namespace, console: Console) -> int:
    costs = read_costs(given.costs if given.costs is not None else [path for path in REPORTS if path.exists()])
    load = Load(**{each.name: getattr(given, each.name) for each in fields(Load)})
    boxes = Boxes(**{each.name: getattr(given, each.name) for each in fields(Boxes)})
    if not any(value for name, value in vars(load).items() if name.endswith("_per_second")):
        raise ValueError("There is no load: give it --redirects-per-second, or another rate.")
    _print_walk(list(walk(load, costs, boxes)), console)
    _print_assumptions(costs, load, boxes, console)
    return 0


def _print_walk(steps: list[Capacity], console: Console) -> None:
    table = Table(
        "",
        *(f"{step.load.redirects_per_second:,.0f}/s" for step in steps),
        title="What so many redirects need, and the rest with them",
    )
    lines: dict[str, Callable[[Capacity], str]] = {
        "workers": lambda step: f"{step.workers:,}",
        "boxes": lambda step: f"{step.boxes:,}",
        "pods of several workers": lambda step: f"{step.pods:,}",
        "memory of those, GB": lambda step: f"{step.memory_gb:,.1f}",
        "memory with a worker a pod, GB": lambda step: f"{step.memory_alone_gb:,.1f}",
        "Postgres connections, at least": lambda step: f"{step.postgres_connections:,}",
        "Postgres CPUs": lambda step: f"{step.postgres_cpus:,.2g}",
        "Redis shards": lambda step: f"{step.redis_shards:,}",
        "Redis memory, GB": lambda step: f"{step.redis_memory_gb:,.2g}",
        "network, Gbit/s": lambda step: f"{step.network_gbit:,.2g}",
        "access log, MB/s": lambda step: f"{step.log_mb_per_s:,.2g}",
        "clicks are in Postgres after, s": lambda step: f"{step.clicks_after_s:.1f}",
    }
    for name, line in lines.items():
        table.add_row(name, *map(line, steps))
    table.add_section()
    table.add_row(
        "bottleneck", *(f"[bold]{step.bottleneck.name}[/]: {step.bottleneck.share:.2g} of one" for step in steps)
    )
    table.add_row("then", *(step.bottleneck.mend for step in steps))
    table.add_row("more than one, too", *(_also(step) for step in steps))
    console.print(table)


def _also(step: Capacity) -> str:
    over = [f"{need.name} {need.share:.1f}" for need in step.needs if need.share > 1 and need is not step.bottleneck]
    return ", ".join(over) or "nothing"


def _print_assumptions(costs: dict[str, Cost], load: Load, boxes: Boxes, console: Console) -> None:
    table = Table("", "value", "from", "what it is", title="Assumed")
    for name, cost in costs.items():
        table.add_row(name, f"{cost.value:.4g} {cost.unit}", cost.source, cost.says)
    for kind in (load, boxes):
        table.add_section()
        for each in fields(kind):
            table.add_row(each.name, f"{getattr(kind, each.name):,g}", "option", each.metadata["says"])
    console.print(table)


def _check(given: argparse.Namespace, console: Console) -> int:
    heads = ("load", "workers", "users", "measured/s", "simulated/s", "error", "measured p50 ms", "simulated", "error")
    table = Table(*heads, "others' cores", title="Measured, and simulated")
    rows = []
    with console.status("starting") as status:
        for row in check(seconds=given.seconds, tries=given.tries, say=status.update):
            rows.append(row)
            measured, simulated = row.measured, row.simulated
            table.add_row(
                row.load, str(row.scene.workers), str(row.scene.users),
                f"{measured.result.rps:,.4g}", f"{simulated.per_second:,.4g}", f"{row.error:+.0%}",
                f"{measured.result.p50_ms:.3g}", f"{simulated.p50_ms:.3g}", f"{row.error_ms:+.0%}",
                f"{measured.others_cores:.1f}",
            )  # fmt: skip
    console.print(table)
    if any(row.measured.others_cores > CROWDED for row in rows):
        console.print(
            "Other programs used this machine meanwhile. The simulation knows how much, and not when: trust the calm rows."
        )
        return 0
    return int(any(abs(row.error) > AGREES for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m proof.capacity", description="What a load needs of everything.")
    add = parser.add_argument
    for each in (*fields(Load), *fields(Boxes)):
        says = f"{each.metadata['says']} ({each.default:,g})"
        add(f"--{each.name.replace('_', '-')}", type=_number_of(each), default=each.default, metavar="N", help=says)
    reports = ", ".join(map(str, REPORTS))
    add("--costs", type=Path, nargs="*", metavar="FILE", help=f"what was measured: proof.json, bench.json ({reports})")
    add(
        "--check",
        action="store_true",
        help="the simulation beside a service with 1 and 2 workers; exits 1 where they disagree",
    )
    add("--seconds", type=one_or_more, default=3, help="of each measurement of --check (3)")
    add("--tries", type=one_or_more, default=5, help="of each measurement, while other programs use the machine (5)")
    return parser


def _number_of(option: Field[float]) -> Callable[[str], float]:
    kind = int if option.type is int else float
    most, may_be_none = option.metadata["most"], option.metadata["may_be_none"]

    def number(text: str) -> float:
        try:
            value = kind(float(text))  # 1e6 is a whole number, too
        except (ValueError, OverflowError):
            value = -1
        if not 0 <= value <= most or not (value or may_be_none):
            least = "from 0" if may_be_none else "more than 0, and"
            raise argparse.ArgumentTypeError(f"must be {least} up to {most:g}, not {text!r}")
        return value

    return number


if __name__ == "__main__":
    sys.exit(main())
