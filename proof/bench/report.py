"""The bench as tables for people, as JSON for machines and as a chart. Measures nothing."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from rich.console import Console
from rich.table import Table

from proof.bench.figures import Figure
from proof.bench.generator import CANNOT, WRK
from proof.bench.layers import LAYERS, Layers
from proof.bench.peers import Peer
from proof.bench.redis_tls import NO_REDIS, REDIS
from proof.bench.routes import Samples
from proof.bench.servers import NGINX, NO_NGINX
from proof.bench.trials import SLOW_CLIENTS
from proof.prove.charts import INK, STYLE

COLORS = {"ours": "#1a9f6c", "textbook": "#e5534b"}
OTHER = "#8b949e"


@dataclass(frozen=True)
class Report:
    samples: Samples
    figures: list[Figure]
    raw: dict[str, object]
    peers: dict[str, Peer] = field(default_factory=dict)
    layers: Layers = field(default_factory=dict)


def print_report(report: Report, console: Console) -> None:
    if WRK is None:
        console.print(CANNOT, style="yellow")
    if NGINX is None:
        console.print(NO_NGINX, style="yellow")
    if REDIS is None and "switches" in report.raw:
        console.print(NO_REDIS, style="yellow")
    if report.samples:
        console.print(_routes_table(report.samples))
    if report.peers:
        console.print(_peers_table(report.peers))
        console.print(_lives_table(report.peers))
    if report.layers:
        console.print(_layers_table(report.layers))
    if not report.figures:
        return
    table = Table("figure", "measured", "goal", "met", "", title="What is promised")
    for figure in report.figures:
        goal = "" if figure.goal is None else f"{figure.side} {figure.goal:g}"
        met = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[figure.met]
        table.add_row(figure.name, f"{figure.value:.4g} {figure.unit}", goal, met, figure.detail)
    console.print(table)


def _routes_table(samples: Samples) -> Table:
    table = Table(
        "route", "server", "requests/s", "CPU us", "of it round by round", "backends us", "p50 ms", "p99 ms", "errors",
        title="One worker, medians of the rounds",
    )  # fmt: skip
    for route, servers in samples.items():
        for name, series in servers.items():
            low, high = series.spread("cpu_us")
            table.add_row(
                route,
                name,
                f"{series.median('requests_per_s'):,.0f}",
                f"{series.median('cpu_us'):.1f}",
                f"{low:.1f} to {high:.1f}",
                f"{series.median('backends_us'):.1f}",
                f"{series.median('p50_ms'):.2f}",
                f"{series.median('p99_ms'):.2f}",
                f"{sum(sample.errors for sample in series.samples)}",
            )
        table.add_section()
    return table


def _peers_table(peers: dict[str, Peer]) -> Table:
    table = Table(
        "server", "route", "requests/s", "CPU us", "p99 ms", "beside CPU, p99 ms", "max / mean of 4", "PSS MiB",
        title="The same service. Speed of one worker, medians of the rounds; the rest of 4 workers",
    )  # fmt: skip
    for name, peer in peers.items():
        rest = [f"{peer.beside_cpu_p99_ms:.0f}", f"{peer.unevenness:.2f}", f"{peer.pss_mib:.0f}"]
        for number, (route, series) in enumerate(peer.speed.items()):
            speed = [
                f"{series.median('requests_per_s'):,.0f}",
                f"{series.median('cpu_us'):.0f}",
                f"{series.median('p99_ms'):.1f}",
            ]
            table.add_row("" if number else name, route, *speed, *([] if number else rest))
        table.add_section()
    return table


def _lives_table(peers: dict[str, Peer]) -> Table:
    table = Table(
        "server", "lost in 3 reloads", "streams cut in them", "killed, s", "frozen, s", "hangs at its start, s",
        "broken release", "slow clients held",
        title="The same service with two workers, when something happens to it",
    )  # fmt: skip
    for name, peer in peers.items():
        table.add_row(
            name,
            f"{peer.lost} of {peer.asked:,}",
            "-" if peer.streams is None else f"{peer.streams[0]} of {peer.streams[1]}",
            *(
                "never" if seconds is None else f"{seconds:.1f}"
                for seconds in (peer.killed_s, peer.frozen_s, peer.hung_s)
            ),
            "goes on" if peer.outlives_broken else "ends",
            f"{peer.slow_held} of {SLOW_CLIENTS}",
        )
    return table


def _layers_table(layers: Layers) -> Table:
    title = "Python calls of one request, and the share of the worker's time, by cProfile"
    table = Table("layer", *layers, title=title)
    for name in LAYERS:
        parts = [by_layer[name] for by_layer in layers.values()]
        table.add_row(name, *(f"{part.calls:.0f} ({part.share:.0%})" for part in parts))
    return table


def write(report: Report, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "bench.json"]
    paths[0].write_text(json.dumps(as_json(report), indent=1) + "\n")
    if report.samples:
        paths.append(folder / "bench.svg")
        paths[1].write_text(_chart(report.samples, paths[1]))
    return paths


def as_json(report: Report) -> dict[str, object]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": len(os.sched_getaffinity(0)), "python": platform.python_version()},
        "generator": "wrk" if WRK else "python",
        "figures": [asdict(figure) | {"met": figure.met} for figure in report.figures],
        "rounds": {
            route: {name: [asdict(sample) for sample in series.samples] for name, series in servers.items()}
            for route, servers in report.samples.items()
        },
        **report.raw,
    }


def _chart(samples: Samples, path: Path) -> str:
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        drawing = Drawing(figsize=(7.2, 1.3 + 0.9 * len(samples)), layout="constrained")
        axes = drawing.subplots(len(samples), 1, squeeze=False)[:, 0]
        for route, each in zip(samples, axes, strict=True):
            _bars(route, samples, each)
        axes[-1].set_xlabel("CPU time of the server for a request, µs (median, and its range over the rounds)")
        drawing.savefig(path, format="svg", transparent=True, metadata={"Date": None})
    return path.read_text().replace(INK, "currentColor")


def _bars(route: str, samples: Samples, axes: Axes) -> None:
    servers = samples[route]
    names = list(reversed(servers))
    costs = [servers[name].median("cpu_us") for name in names]
    ranges = [servers[name].spread("cpu_us") for name in names]
    errors = [[cost - low for cost, (low, _) in zip(costs, ranges, strict=True)],
              [high - cost for cost, (_, high) in zip(costs, ranges, strict=True)]]  # fmt: skip
    axes.barh(
        names,
        costs,
        color=[COLORS.get(name.partition(",")[0], OTHER) for name in names],
        xerr=errors,
        ecolor=INK,
        capsize=2,
    )
    axes.set_title(route)
