"""A row for each run, kept in a file beside the earlier rows, and the comparison of the last rows."""

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

KEPT = 400
SHOWN = 4
"""Rows of a scenario on the page."""
SAME = 1.15
"""Ratios below this are no difference: runs of the same service vary by as much."""


@dataclass(frozen=True)
class Run:
    at: str
    scenario: str
    does: str
    seconds: float
    workers: int
    cpus: float
    lane_threads: int
    users: int
    arrivals_per_s: float
    answers_per_s: float
    failed: int
    ping_p50_ms: float | None
    ping_p99_ms: float | None
    in_flight: float
    cpu_percent: list[float]
    """The average of each worker."""
    generator_cpu_percent: float
    generator_limits: bool
    """Locust was the bottleneck, so that the figures are Locust's own."""
    p50_ms: float | None = None
    """Half of the answers took so long at most; arrivals count from the moment at which each was due."""
    p99_ms: float | None = None
    others_cores: float = 0.0
    """Cores that other programs used while all of them were busy."""


class Runs:
    """The rows, which survive restarts of the service and of Locust."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure = ""
        self.rows: list[Run] = []
        if path.exists():
            self.rows = [run for text in path.read_text().splitlines() if (run := _read(text)) is not None][-KEPT:]

    def add(self, run: Run) -> None:
        self.rows = [*self.rows, run][-KEPT:]
        try:
            self._write()
            self.failure = ""
        except OSError as error:
            self.failure = f"The rows of the runs cannot be kept: {error}"

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(f".{os.getpid()}")
        temporary.write_text("".join(json.dumps(asdict(each)) + "\n" for each in self.rows))
        temporary.replace(self.path)

    def as_csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text)
        names = [each.name for each in fields(Run)]
        writer.writerow(names)
        for run in self.rows:
            values = asdict(run)
            writer.writerow(
                " ".join(map(str, value)) if isinstance(value := values[name], list) else value for name in names
            )
        return text.getvalue()

    def compared(self) -> list[dict[str, Any]]:
        """Return the last runs of each scenario, and in words how they compare."""
        by_scenario: dict[str, list[Run]] = {}
        for run in self.rows:
            by_scenario.setdefault(run.scenario, []).append(run)
        return [
            {"does": rows[-1].does, "says": says(rows), "runs": [asdict(run) for run in reversed(rows[-SHOWN:])]}
            for rows in by_scenario.values()
        ]


def says(rows: Sequence[Run]) -> str:
    """Compare the last run with the last one that had another number of workers."""
    last = rows[-1]
    other = next((run for run in reversed(rows) if run.workers != last.workers), None)
    if other is None:
        return f"{_rate(last)} with {_workers(last)}, and no run yet with another number of workers."
    few, many = sorted((last, other), key=lambda run: run.workers)
    if not few.answers_per_s * many.answers_per_s:
        verdict = "no ratio, as one of the two answered nothing"
    else:
        ratio = many.answers_per_s / few.answers_per_s
        verdict = f"{ratio:.1f} times" + ("" if ratio >= SAME or ratio <= 1 / SAME else ", which is the same")
    taken = max(few.others_cores, many.others_cores)
    doubt = f" Other programs took {taken} cores meanwhile, so trust this little." if taken else ""
    return f"{_rate(few)} with {_workers(few)}, {_rate(many)} with {_workers(many)}: {verdict}.{doubt}"


def _rate(run: Run) -> str:
    """Three digits, so that the ratio behind it is the quotient of what is read."""
    rate = run.answers_per_s
    return f"{rate:,.0f}/s" if rate >= 100 or rate == int(rate) else f"{rate:.3g}/s"


def _workers(run: Run) -> str:
    return f"{run.workers} worker{'' if run.workers == 1 else 's'}"


def _read(text: str) -> Run | None:
    """Return a row; None where another version wrote it, or only half of it was written."""
    try:
        return Run(**json.loads(text))
    except (TypeError, ValueError):
        return None
