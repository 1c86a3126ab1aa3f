"""`python -m proof.prove`: the options, the progress bar, the tables, the files, the exit code."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from local.patience import Patience
from local.process import LocalError
from proof.arguments import at_least, kept_folder, one_or_more, some_seconds
from proof.prove.experiments import EXPERIMENTS
from proof.prove.proof import Options, Proof
from proof.prove.report import write
from proof.prove.route.command import add_options, prove_routes
from proof.prove.run import Step, prove
from proof.prove.tables import print_proof

START_S = 240.0
"""Seconds for the start of all services."""
WINDOW_S = 90.0
"""Seconds of a window beside those that are measured: until the service is calm, and for a restart if it never is."""
ROUTE_S = 900.0
"""Seconds for all windows of one route."""
QUICK = Options(seconds=0.75, repeat=1, connections=2000)


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    console = Console(highlight=False)
    try:
        if given.route:
            with _progress(console, "Route", ROUTE_S) as step:
                return prove_routes(given, console, step)
        proof = _run(_options(given), console)
    except LocalError as reason:
        sys.exit(f"prove: {reason}")
    written = write(proof, given.out)  # first, because a terminal may not take what is shown
    print_proof(proof, console)
    for path in written:
        console.print(f"Wrote {path}")
    return 1 if any(claim.verdict == "not proved" for claim in proof.all_claims) else 0


def _run(options: Options, console: Console) -> Proof:
    with _progress(console, "Window", WINDOW_S + options.seconds) as step:
        return prove(options, step)


@contextmanager
def _progress(console: Console, what: str, within_s: float) -> Iterator[Step]:
    columns = (TextColumn("{task.description:<12}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar, Patience("The start", START_S) as patience:
        task = bar.add_task("starting", total=None)

        def step(experiment: str, done: int, total: int) -> None:
            patience.step(f"{what} {done + 1} of {total}, {experiment!r},", within_s)
            bar.update(task, description=experiment, completed=done, total=total)

        yield step


def _options(given: argparse.Namespace) -> Options:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in vars(given).items()
    }
    known = {option.name for option in fields(Options)}
    chosen = {name: value for name, value in values.items() if value is not None and name in known}
    return replace(QUICK if given.quick else Options(), **chosen)


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(sorted({int(part) for part in text.split(",")}))
    if counts[0] < 1:
        raise ValueError(text)
    return counts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m proof.prove",
        description="Prove, with ratios measured in one run, what this template claims.",
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="under a minute: short windows, once each")
    add("--only", "--scenario", nargs="+", choices=EXPERIMENTS, metavar="NAME", help=f"of {', '.join(EXPERIMENTS)}")
    add(
        "--workers",
        type=_counts,
        metavar="1,2,...",
        help="numbers of workers to compare; the default follows the cores",
    )
    add(
        "--users",
        type=one_or_more,
        help=f"who wait at the same time, in the experiments about waiting ({Options.users})",
    )
    add("--seconds", "--time", type=some_seconds, help=f"of each measuring window ({Options.seconds:g})")
    add("--ms", type=one_or_more, help=f"length of the CPU jobs beside which a ping is measured ({Options.ms})")
    add("--repeat", type=one_or_more, help=f"times that each window is measured, alternating ({Options.repeat})")
    add("--connections", type=one_or_more, help=f"idle connections to hold ({Options.connections:,})")
    add(
        "--load",
        type=at_least(float, 0.01),
        help=f"CPU jobs a second to compute the workers and replicas for ({Options.load:g})",
    )
    add("--host", metavar="URL", help="measure this deployment, instead of services that are started for it")
    add("--ops-url", metavar="URL", help="where that deployment serves /workers, if not at --host: its OPS_PORT")
    add("--out", type=kept_folder, default="reports", help="folder for proof.html and proof.json (reports)")
    add_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
