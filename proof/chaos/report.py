"""The fault table: on a terminal, as JSON, and as Markdown."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from proof.chaos.drill import Verdict
from proof.chaos.outage import Outage
from proof.chaos.overload import HEALTH, KEEPS, RAMP_S, SECONDS, Climb, p99_ms
from proof.chaos.siege import Siege
from proof.chaos.soak import Line
from proof.chaos.traffic import Tally

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


def print_outage(outage: Outage, minutes: float, console: Console) -> None:
    print_lines(outage.visitors, outage.lines, minutes, console)
    followers = outage.followers
    console.print(
        f"{followers.sent:,} other links were followed: {dict(followers.outcomes)} {dict(followers.wrong) or ''}"
    )
    console.print(
        f"{outage.counted:,} clicks were counted of {outage.clicks:,}, {outage.counted_after_s:.1f} s after the store was back"
    )


def print_waves(climb: Climb, console: Console) -> None:
    columns = (
        "a second of", climb.name, "answered", "p99 ms", "refused", "p99 ms", "not sent",
        *(f"p99 ms of {path}" for path in HEALTH), "worker's CPU", "waited for one", "generator's CPU",
    )  # fmt: skip
    table = Table(*columns, box=None)
    for wave in climb.waves:
        seconds = SECONDS - RAMP_S
        refused, unsent = len(wave.refused_s) / seconds, wave.late / seconds
        numbers = [wave.rate, wave.goodput, p99_ms(wave.good_s), refused, p99_ms(wave.refused_s), unsent]
        numbers += [p99_ms(wave.health_s[path]) for path in HEALTH]
        shares = [wave.cpu_s / seconds, wave.waited_s / seconds, wave.own_cpu_s / seconds]
        table.add_row("", *(f"{number:,.0f}" for number in numbers), *(f"{share:.0%}" for share in shares))
    console.print(table)


def print_climbs(climbs: Sequence[Climb], console: Console) -> None:
    """Judged by what the worker answers while it has a core: how long others kept it from one is not its doing."""
    health = (f"p99 ms of {path}" for path in HEALTH)
    table = Table("", "best", "at five times that", "kept", "while it had a core", "p99 ms", *health, "", box=None)
    for climb in climbs:
        best, last = climb.best, climb.waves[-1]
        rates = (f"{best.goodput:,.0f}/s", f"{last.goodput:,.0f}/s")
        shares = (f"{last.goodput / max(best.goodput, 1.0):.0%}", f"{climb.kept:.0%}")
        latencies = (f"{p99_ms(values):,.0f}" for values in (last.good_s, *last.health_s.values()))
        verdict = "[green]kept[/]" if climb.kept >= KEEPS else "[bold red]broken[/]"
        table.add_row(climb.name, *rates, *shares, *latencies, verdict)
    console.print(table)


def print_sieges(sieges: Sequence[Siege], clients: int, console: Console) -> None:
    waits = ("longest ms of /livez", "of a redirect")
    table = Table(f"{clients:,} clients", "MiB before", "at most", "after", *waits, "", box=None)
    for siege in sieges:
        memory = (siege.before_mb, siege.peak_mb, siege.after_mb)
        longest_ms = (1000 * max(waits_s, default=0.0) for waits_s in siege.waits_s.values())
        verdict = "[bold red]broken[/]" if siege.broken else "[green]kept[/]"
        table.add_row(siege.name, *(f"{number:,.0f}" for number in (*memory, *longest_ms)), verdict)
    console.print(table)
    for siege in sieges:
        if siege.unserved or siege.endless:
            console.print(f"{siege.name}: {siege.unserved} others not served, {siege.endless} clients not let go of")


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
