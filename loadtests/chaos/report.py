"""The fault table: on a terminal, as JSON, and as Markdown."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtests.chaos.drill import Verdict
from loadtests.chaos.overload import KEEPS, RAMP_S, SECONDS, Climb, p99_ms
from loadtests.chaos.soak import Line
from loadtests.chaos.traffic import Tally

COLUMNS = (
    "fault", "sent", "answered", "refused", "not reached", "cut, asked again", "lost", "clicks expected", "counted",
    "recovered in", "longest wait",
)  # fmt: skip


def row(verdict: Verdict) -> list[str]:
    if verdict.not_run:
        return [verdict.fault, f"not run: {verdict.not_run}", *[""] * (len(COLUMNS) - 2)]
    numbers = (
        verdict.sent, verdict.answered, verdict.refused, verdict.unreachable, verdict.cut, verdict.lost,
        verdict.clicks_expected, verdict.clicks_counted,
    )  # fmt: skip
    recovered = "never" if math.isinf(verdict.recovered_s) else f"{verdict.recovered_s:.1f} s"
    return [verdict.fault, *(f"{number:,}" for number in numbers), recovered, f"{verdict.longest_wait_s:.1f} s"]


def print_table(verdicts: Sequence[Verdict], console: Console) -> None:
    table = Table(*COLUMNS, "", box=None)
    for verdict in verdicts:
        mark = "[bold red]broken[/]" if verdict.broken else "" if verdict.not_run else "[green]kept[/]"
        table.add_row(*row(verdict), mark)
    console.print(table)
    for verdict in verdicts:
        for broken in verdict.broken:
            console.print(f"[bold red]{verdict.fault}[/]: {broken}", highlight=False)


def print_lines(tally: Tally, lines: Sequence[Line], minutes: float, console: Console) -> None:
    console.print(f"{tally.sent:,} requests in {minutes:g} minutes: {dict(tally.outcomes)} {dict(tally.wrong) or ''}")
    table = Table("of all workers", "first", "last", "an hour", "", box=None)
    for line in lines:
        verdict = "[green]flat[/]" if line.flat else "[bold red]grows[/]"
        table.add_row(line.quantity, f"{line.first:.1f}", f"{line.last:.1f}", f"{line.per_hour:+.1f}", verdict)
    console.print(table)


def print_waves(climb: Climb, console: Console) -> None:
    columns = (
        "a second of", climb.name, "answered", "for a CPU second", "p99 ms", "refused", "p99 ms", "not sent",
        "p99 ms of /livez", "generator's CPU",
    )  # fmt: skip
    table = Table(*columns, box=None)
    for wave in climb.waves:
        seconds = SECONDS - RAMP_S
        refused, unsent = len(wave.refused_s) / seconds, wave.late / seconds
        numbers = [wave.rate, wave.goodput, wave.each_cpu_s, p99_ms(wave.good_s), refused, p99_ms(wave.refused_s)]
        numbers += [unsent, p99_ms(wave.health_s)]
        table.add_row("", *(f"{number:,.0f}" for number in numbers), f"{wave.own_cpu_s / seconds:.0%}")
    console.print(table)


def print_climbs(climbs: Sequence[Climb], console: Console) -> None:
    table = Table(
        "", "best", "at five times that", "kept", "of a CPU second", "p99 ms", "p99 ms of /livez", "", box=None
    )
    for climb in climbs:
        best, last = climb.best, climb.waves[-1]
        of_cpu = last.each_cpu_s / max(best.each_cpu_s, 1.0)
        latencies = (f"{p99_ms(last.good_s):,.0f}", f"{p99_ms(last.health_s):,.0f}")
        verdict = "[green]kept[/]" if climb.kept >= KEEPS else "[bold red]broken[/]"
        rates = (f"{best.goodput:,.0f}/s", f"{last.goodput:,.0f}/s", f"{climb.kept:.0%}", f"{of_cpu:.0%}")
        table.add_row(climb.name, *rates, *latencies, verdict)
    console.print(table)


def as_markdown(verdicts: Sequence[Verdict]) -> str:
    lines = [COLUMNS, ["---"] + ["---:"] * (len(COLUMNS) - 1), *map(row, verdicts)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write(verdicts: Sequence[Verdict], folder: Path, **more: object) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    document = {"faults": [verdict.as_json() for verdict in verdicts], **more}
    paths = [folder / "chaos.json", folder / "chaos.md"]
    for path, text in zip(paths, (json.dumps(document, indent=2), as_markdown(verdicts)), strict=True):
        path.write_text(text)
    return paths
