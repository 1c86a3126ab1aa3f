"""`python -m proof.chaos`: the options, the faults in order, the table and the files, the exit status."""

import argparse
import json
import math
import sys
from dataclasses import asdict

import uvloop
from rich.console import Console

from local.patience import Patience
from local.process import LocalError
from proof.arguments import at_least, kept_folder, one_or_more
from proof.bench.deployment import backends, deployment
from proof.chaos.drill import Verdict, drill
from proof.chaos.faults import FAULTS, Fault
from proof.chaos.outage import STORES, outlast
from proof.chaos.overload import KEEPS, ROUTES, Climb, climb
from proof.chaos.report import print_climbs, print_lines, print_outage, print_sieges, print_table, print_waves, write
from proof.chaos.siege import CLIENTS, SETTINGS, besiege
from proof.chaos.soak import soak
from proof.chaos.stage import stage
from proof.chaos.traffic import Traffic
from proof.prove.bench import raise_file_limit

START_S = 240.0
FAULT_S = 300.0
"""Seconds of a fault with all that follows: its setting, the recovery and the count of the clicks."""
CLIMB_S = 600.0
QUICK_JOBS = 60


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.without and not given.soak:
        parser.error("--without needs --soak MINUTES")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 170)
    raise_file_limit()
    try:
        with Patience("The start", START_S) as patience:
            if given.overload:
                return overload(console, patience)
            if given.siege:
                return siege(given.siege, console, patience)
            if given.soak and given.without:
                return uvloop.run(_outlast(given, console, patience))
            if given.soak:
                return uvloop.run(_soak(given, console, patience))
            verdicts = uvloop.run(_strike(given, console, patience))
    except LocalError as reason:
        sys.exit(f"chaos: {reason}")
    written = write(verdicts, given.out)
    print_table(verdicts, console)
    for path in written:
        console.print(f"Wrote {path}")
    return int(any(verdict.broken for verdict in verdicts))


async def _strike(given: argparse.Namespace, console: Console, patience: Patience) -> list[Verdict]:
    faults = _chosen(given)
    verdicts: list[Verdict] = []
    async with stage(given.out / "chaos.log") as built, Traffic(built.url, built.codes) as traffic:
        built.jobs = QUICK_JOBS if given.quick else built.jobs
        for fault in faults:
            patience.step(f"The fault {fault.name!r}", FAULT_S)
            console.print(f"{len(verdicts) + 1}/{len(faults)} {fault.name}", end=" ")
            verdicts.append(await drill(fault, built, traffic))
            if math.isinf(verdicts[-1].recovered_s):
                await built.replace()
            console.print(f"{verdicts[-1].seconds:.0f} s", "[bold red]broken[/]" if verdicts[-1].broken else "")
    return verdicts


def overload(console: Console, patience: Patience) -> int:
    """Overload one worker. The generator has the other core, so a machine that others use as well says little here."""
    climbs = []
    with backends() as servers, deployment("ours", servers, LAB_ENABLED="1") as server:
        (worker,) = server.workers()
        for name, (path, rate) in ROUTES.items():
            patience.step(f"The overload by {name!r}", CLIMB_S)
            climbs.append(Climb(name, list(climb(server.url, path.format(code=server.codes[0]), rate, worker.pid))))
            print_waves(climbs[-1], console)
    print_climbs(climbs, console)
    return int(any(each.kept < KEEPS for each in climbs))


def siege(clients: int, console: Console, patience: Patience) -> int:
    with backends() as servers, deployment("ours", servers, workers=1, **SETTINGS) as server:
        (worker,) = server.workers()
        patience.step("The siege", CLIMB_S)
        sieges = uvloop.run(besiege(server.url, server.codes[0], worker, clients))
    print_sieges(sieges, clients, console)
    return int(any(each.broken for each in sieges))


async def _soak(given: argparse.Namespace, console: Console, patience: Patience) -> int:
    async with stage(given.out / "chaos.log") as built, Traffic(built.url, built.codes) as traffic:
        patience.step("The soak", FAULT_S + 60 * given.soak)
        tally, lines, samples = await soak(built, traffic, given.soak)
    print_lines(tally, lines, given.soak, console)
    if replacements := samples[-1]["replacements"]:
        console.print(
            f"Workers were replaced {replacements:g} times: the lines are of those that were there to the end."
        )
    (given.out / "soak.json").write_text(json.dumps({"lines": [asdict(line) for line in lines], "samples": samples}))
    return int(tally.sent != tally.outcomes["answered"] or not all(line.flat for line in lines))


async def _outlast(given: argparse.Namespace, console: Console, patience: Patience) -> int:
    async with stage(given.out / "chaos.log") as built, Traffic(built.url, built.codes) as traffic:
        patience.step(f"The outage of {given.without}", FAULT_S + 60 * given.soak)
        outage = await outlast(built, traffic, given.without, given.soak)
    print_outage(outage, given.soak, console)
    told = {"clicks": outage.clicks, "counted": outage.counted, "samples": outage.samples}
    (given.out / "outage.json").write_text(json.dumps(told | {"lines": [asdict(line) for line in outage.lines]}))
    return int(not outage.is_kept)


def _chosen(given: argparse.Namespace) -> list[Fault]:
    if given.only:
        return [fault for fault in FAULTS if fault.name in given.only]
    return [fault for fault in FAULTS if fault.quick or not given.quick]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m proof.chaos",
        description="Break a service that serves, in one way after the other, and count what its visitors lose.",
    )
    parser.add_argument("--quick", action="store_true", help="the faults that take little time, in about two minutes")
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="FAULT", help=f"of: {'; '.join(names)}")
    parser.add_argument(
        "--soak", type=at_least(float, 0.1), metavar="MINUTES", help="no faults: is what the workers hold flat?"
    )
    parser.add_argument(
        "--without", choices=STORES, help="with --soak: this store refuses meanwhile, and 20,000 links are followed"
    )
    parser.add_argument(
        "--overload", action="store_true", help="no faults: five times as many requests as it can answer"
    )
    parser.add_argument(
        "--siege",
        type=one_or_more,
        nargs="?",
        const=CLIENTS,
        metavar="CLIENTS",
        help=f"no faults: so many hostile clients ({CLIENTS}) of one kind after the other",
    )
    parser.add_argument(
        "--out", type=kept_folder, default="reports", help="folder of chaos.json and chaos.md (reports)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
