"""`python -m proof.bench`: the options, the order of the measurements, the tables and the files."""

import argparse
import sys
from dataclasses import asdict

from rich.console import Console

from local.patience import Patience
from local.process import LocalError
from proof.arguments import kept_folder, one_or_more
from proof.bench import connections, cpu, figures, layers, life, peers, routes, switches
from proof.bench.deployment import Backends, backends
from proof.bench.report import Report, print_report, write
from proof.bench.routes import Progress, Samples

STEP_S = 180.0
"""Seconds of a step beside the measured ones: deployments start and stop in it."""
PARTS = (*routes.ROUTES, "switches", "servers", "layers", "cpu", "connections", "many", "life")


def main() -> int:
    given = _parser().parse_args()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    try:
        with Patience("The start", STEP_S) as patience, backends() as servers, console.status("starting") as status:

            def progress(what: str) -> None:
                patience.step(f"The measurement {what!r}", STEP_S + 10 * given.seconds)
                status.update(what)

            report = _bench(given, servers, progress)
    except LocalError as reason:
        sys.exit(f"bench: {reason}")
    written = write(report, given.out)
    print_report(report, console)
    for path in written:
        console.print(f"Wrote {path}")
    return 0


def _bench(given: argparse.Namespace, backends: Backends, progress: Progress) -> Report:
    parts, rounds, seconds = given.only or PARTS, given.rounds, given.seconds
    samples: Samples = {}
    found: list[figures.Figure] = []
    raw: dict[str, object] = {}
    if chosen := [route for route in routes.ROUTES if route in parts]:
        samples = routes.compare(backends, rounds=rounds, seconds=seconds, routes=chosen, progress=progress)
        found += figures.of_routes(samples)
    if "switches" in parts:
        costs = switches.compare(backends, rounds=rounds, seconds=seconds, progress=progress)
        found += figures.of_switches(costs)
        raw["switches"] = {
            route: {name: [asdict(sample) for sample in each.samples] for name, each in by_name.items()}
            for route, by_name in costs.items()
        }
    compared: dict[str, peers.Peer] = {}
    if "servers" in parts:
        compared = peers.compare(backends, rounds=rounds, seconds=seconds, progress=progress)
        raw["servers"] = {name: asdict(peer) for name, peer in compared.items()}
    parted: layers.Layers = {}
    if "layers" in parts:
        parted = layers.compare(backends, seconds=seconds, progress=progress)
        raw["layers"] = {
            name: {layer: asdict(each) for layer, each in by_layer.items()} for name, by_layer in parted.items()
        }
    if "cpu" in parts:
        beside = cpu.beside_redirects(backends, rounds=rounds, seconds=2 * seconds, progress=progress)
        jobs, turns = cpu.over_workers(backends, rounds=rounds, seconds=seconds, progress=progress)
        found += [*figures.of_cpu_beside(beside), *figures.of_cpu_scaling(jobs, turns)]
        raw["cpu"] = {name: [[asdict(part) for part in pair] for pair in pairs] for name, pairs in beside.items()}
    if "connections" in parts:
        spread = connections.spread(backends, workers=(4, 8), progress=progress)
        found += figures.of_spread(spread)
        raw["spread"] = spread
    if "many" in parts:
        found += figures.of_many(*connections.hold_many(backends, progress), connections.MANY)
    if "life" in parts:
        memory = life.memory_mb(backends, workers=4, progress=progress)
        found += figures.of_life(memory, life.restart_s(backends, rounds=rounds, progress=progress))
    return Report(samples, found, raw, compared, parted)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m proof.bench",
        description="Ours beside the textbook service and the ceiling of the server, in one run, alternating.",
    )
    parser.add_argument("--rounds", type=one_or_more, default=5, help="of each measurement; medians are printed (5)")
    parser.add_argument("--seconds", type=one_or_more, default=3, help="of a round (3)")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="measure these alone")
    parser.add_argument(
        "--out", type=kept_folder, default="reports", help="folder of bench.json and bench.svg (reports)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
