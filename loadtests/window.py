"""The seconds of a stage that count, and the row that is left of them."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from loadtests.lesson import Stage
from loadtests.measured import Figures
from loadtests.runs import Run
from loadtests.times import percentile
from loadtests.workers import Worker

LEAST_S = 3
"""A stage of which less was measured leaves no row."""
SATURATED_PERCENT = 90
"""Percent of a core, the limit of Locust's own warning. One Locust process is one core."""


@dataclass
class Window:
    stage: Stage
    seconds: list[tuple[Figures, Sequence[Worker], float]] = field(default_factory=list)
    """Locust's figures, the workers of the service, and the percentage of a core that the busiest Locust process used."""

    def add(self, figures: Figures, workers: Sequence[Worker], generator_percent: float) -> None:
        self.seconds.append((figures, [worker for worker in workers if worker.lives], generator_percent))

    def run(self, plan: dict[str, Any], users: int) -> Run | None:
        if len(self.seconds) < LEAST_S:
            return None
        figures = [each for each, _, _ in self.seconds]
        pings = sorted(ms for each in figures for ms in each.pings_ms)
        took_ms = sum((each.took_ms for each in figures), Counter[int]())
        elapsed_s = sum(each.elapsed_s for each in figures)
        busy = statistics.fmean(percent for _, _, percent in self.seconds)
        return Run(
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            scenario=self.stage.scenario.__name__,
            does=self.stage.scenario.does,
            seconds=round(elapsed_s),
            workers=statistics.median_high(len(each) for _, each, _ in self.seconds),  # one may be missed for a second
            cpus=plan.get("cpus", 0),
            lane_threads=plan.get("cpu_lane_threads", 0),
            users=users,
            arrivals_per_s=round(sum(each.arrived for each in figures) / elapsed_s, 1),
            answers_per_s=round(sum(each.answered for each in figures) / elapsed_s, 1),
            failed=sum(each.failed for each in figures),
            ping_p50_ms=round(pings[len(pings) // 2], 1) if pings else None,
            ping_p99_ms=round(pings[len(pings) * 99 // 100], 1) if pings else None,
            in_flight=round(statistics.fmean(each.in_flight for each in figures), 1),
            cpu_percent=self._cpu_percent(),
            generator_cpu_percent=round(busy, 1),
            generator_limits=busy > SATURATED_PERCENT,
            p50_ms=percentile(took_ms, 0.5),
            p99_ms=percentile(took_ms, 0.99),
        )

    def _cpu_percent(self) -> list[float]:
        by_worker: dict[int, list[float]] = {}
        for _, workers, _ in self.seconds:
            for worker in workers:
                by_worker.setdefault(worker.number, []).append(worker.told["cpu_percent"])
        return [round(statistics.fmean(each), 1) for _, each in sorted(by_worker.items())]
