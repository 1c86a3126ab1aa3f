"""The four charts of a proof, as SVG whose ink is `currentColor`: readable on light and on dark. Judges nothing."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from statistics import median

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from proof.prove.evidence import ping_p99s_ms, rates
from proof.prove.experiments.arrivals import CLOSED, OPEN, OUTAGE_MS
from proof.prove.experiments.placement import PLACES
from proof.prove.experiments.queue import SHARES, alone_ms, means_ms, predicted_ms, utilisation
from proof.prove.experiments.scaling import cpu
from proof.prove.experiments.spread import WINDOW as SPREAD
from proof.prove.experiments.waiting import (
    LONG_SLEEP_MS,
    MANY,
    SLEEP_MS,
    STEPS,
    THOUSAND,
    await_name,
    block_name,
)
from proof.prove.proof import Proof
from proof.prove.words import number

INK = "#010203"
"""Stands for currentColor, which matplotlib does not know."""
GOOD, BAD, FAINT = "#1a9f6c", "#e5534b", "#8b949e"
"""Each has a contrast of 3 and more against white and against GitHub's dark background."""
PLAIN = StrMethodFormatter("{x:,g}")
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "brigade",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


@dataclass(frozen=True)
class Chart:
    name: str
    title: str
    experiment: str
    draw: Callable[[Proof, Axes], None]
    size: tuple[float, float] = (7.2, 3.2)

    def svg(self, proof: Proof) -> str:
        with mpl.rc_context(STYLE):  # type: ignore[arg-type]
            figure = Figure(figsize=self.size, layout="constrained")
            axes = figure.add_subplot()
            axes.set_title(self.title)
            self.draw(proof, axes)
            return _svg(figure, self.title)


def charts(proof: Proof) -> Iterator[Chart]:
    """Yield the charts for which this proof has samples."""
    return (chart for chart in CHARTS if any(proof.results.get(chart.experiment, {}).values()))


def _svg(figure: Figure, title: str) -> str:
    text = StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = text.getvalue()[text.getvalue().index("<svg") :].replace(INK, "currentColor")
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    return drawing.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def _draw_placement(proof: Proof, axes: Axes) -> None:
    results = proof.results["placement"]
    places = ("nothing", *PLACES)
    for row, place in enumerate(places):
        p99_ms = median(ping_p99s_ms(results, place))
        color = {"nothing": FAINT, "on-loop": BAD, "in-threadpool": BAD}.get(place, GOOD)
        axes.barh(row, p99_ms, color=color, height=0.62)
        axes.text(p99_ms * 1.08, row, f"{number(p99_ms)} ms", va="center")
    axes.set_yticks(range(len(places)), [f"beside {place}" for place in places])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(0.5, axes.get_xlim()[1] * 2)
    axes.xaxis.set_major_formatter(PLAIN)
    axes.set_xlabel("p99 of a ping, ms (logarithmic)")


def _draw_throughput(proof: Proof, axes: Axes) -> None:
    results, scope, law = proof.results["scaling"], proof.scope, proof.law
    points = [(count, rate) for count in scope.counts for rate in rates(results, cpu(count))]
    one = median(rates(results, cpu(1)))
    top = max(scope.counts)
    axes.plot([1, top], [one, one * top], "--", color=FAINT, label="ideal: so many times one worker")
    if law:
        workers = np.linspace(1, scope.most, 50)
        label = f"scaling law: contention {law.contention:.1%}, error {law.error:.1%}"
        axes.plot(workers, [law.throughput(count) for count in workers], color=GOOD, label=label)
    axes.plot([count for count, _ in points], [rate for _, rate in points], "o", color=GOOD, label="measured")
    if top > scope.most:
        axes.axvspan(scope.most + 0.1, top + 0.1, color=FAINT, alpha=0.15, lw=0)
        axes.text((scope.most + top) / 2 + 0.1, one * 0.25, "more workers than cores", ha="center")
    axes.set_xticks(scope.counts)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("workers")
    axes.set_ylabel("CPU jobs a second")
    axes.legend(loc="upper left")


def _draw_waiting(proof: Proof, axes: Axes) -> None:
    results = proof.results["awaiting"]
    users = [*(count for count in STEPS if count < proof.scope.users), proof.scope.users]
    lines = {
        name: {count: median(rates(results, window(count))) * SLEEP_MS / 1000 for count in users}
        for name, window in (("awaited", await_name), ("blocking", block_name))
    }
    lines["awaited"][MANY] = median(rates(results, THOUSAND)) * LONG_SLEEP_MS / 1000
    for (label, line), color, marker in zip(lines.items(), (GOOD, BAD), "os", strict=True):
        axes.plot(list(line), list(line.values()), f"{marker}-", color=color)
        last, at_once = max(line.items())
        axes.text(last * 1.15, at_once, f"{label}: {number(at_once)}", color=color, va="center")
    axes.plot([1, MANY], [1, MANY], "--", color=FAINT, zorder=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(right=MANY * 6)
    axes.xaxis.set_major_formatter(PLAIN)
    axes.yaxis.set_major_formatter(PLAIN)
    axes.set_xlabel("users")
    axes.set_ylabel("sleeps under way at once")


def _draw_spread(proof: Proof, axes: Axes) -> None:
    samples = proof.results["spread"][SPREAD]
    workers = sorted({worker for sample in samples for worker in sample.by_worker})
    shares = [median(sample.by_worker.get(worker, 0) / sample.seconds for sample in samples) for worker in workers]
    axes.barh(range(len(workers)), shares, color=GOOD, height=0.62)
    axes.axvline(sum(shares) / proof.scope.most, ls="--", color=FAINT)
    axes.set_yticks(range(len(workers)), [f"worker {worker.rpartition(':')[2]}" for worker in workers])
    axes.invert_yaxis()
    axes.set_xlabel("requests a second (dashed: a fair share)")


def _draw_arrivals(proof: Proof, axes: Axes) -> None:
    results = proof.results["arrivals"]
    names = (CLOSED, OPEN)
    for row, name in enumerate(names):
        p50, p99 = (median(getattr(sample.latency_ms, at) for sample in results[name]) for at in ("p50", "p99"))
        axes.barh(row, p99, color=(BAD, GOOD)[row], height=0.5)
        axes.text(p99 * 1.08, row, f"p99 {number(p99)} ms, p50 {number(p50)} ms", va="center")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(1, axes.get_xlim()[1] * 30)
    axes.xaxis.set_major_formatter(PLAIN)
    axes.set_xlabel("latency, ms (logarithmic)")


def _draw_queue(proof: Proof, axes: Axes) -> None:
    results = proof.results["queue"]
    loads = np.linspace(0, 0.95, 80)
    axes.plot(loads, [predicted_ms(alone_ms(results), load) for load in loads], color=FAINT, label="predicted (M/D/1)")
    points = [(utilisation(results, share), mean_ms) for share in SHARES for mean_ms in means_ms(results, share)]
    axes.plot([load for load, _ in points], [mean_ms for _, mean_ms in points], "o", color=GOOD, label="measured")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("utilisation: arrivals a second x seconds that each takes")
    axes.set_ylabel("mean time inside, ms")
    axes.legend(loc="upper left")


CHARTS = (
    Chart("ping", "What a ping feels beside CPU work, by where that runs", "placement", _draw_placement),
    Chart("throughput", "CPU work grows with the workers, up to the cores", "scaling", _draw_throughput),
    Chart("waiting", "One worker: who awaits has all its users under way at once", "awaiting", _draw_waiting),
    Chart("spread", "Who did the work", "spread", _draw_spread, size=(7.2, 2.2)),
    Chart("arrivals", f"One outage of {OUTAGE_MS} ms, seen twice", "arrivals", _draw_arrivals, size=(7.2, 2.2)),
    Chart("queue", "Nearly full is slow: one worker, 20 ms a request", "queue", _draw_queue),
)
