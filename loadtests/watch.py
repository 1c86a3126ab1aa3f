"""Follows a run second by second: what each worker of the service does, which stage it is, and what is left of each stage."""

import statistics
import time
from collections import Counter, deque
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING, MasterRunner

from loadtests.lesson import Lesson, Stage, stage_at
from loadtests.measured import Figures, everywhere, here
from loadtests.options import option
from loadtests.runs import Runs
from loadtests.window import Window
from loadtests.words import Second, line, over
from loadtests.workers import Worker, Workers

ASK_EVERY_S = 0.4
RECENT = 3
"""Seconds over which rates and the ping of the line on top are taken."""
SETTLE_S = 2.0
WATCHED_S = 10.0
KEPT_POINTS = 900
READY = "Press Start: this line says what is seen, second by second."


class Watch:
    def __init__(self, environment: Environment, runs: Runs) -> None:
        self.environment = environment
        self.runs = runs
        self.workers = Workers()
        self.points: deque[dict[str, Any]] = deque(maxlen=KEPT_POINTS)
        self.marks: list[dict[str, Any]] = []
        self.served: Counter[str] = Counter()
        self.line = READY
        self.generator_percent = 0.0
        self.watched_at = 0.0
        self.stage: Stage | None = None
        self.living: list[Worker] = []
        self._recent: deque[Figures] = deque(maxlen=RECENT)
        self._window: Window | None = None

    @property
    def running(self) -> bool:
        runner = self.environment.runner
        return runner is not None and runner.state in {STATE_SPAWNING, STATE_RUNNING}

    def ask_for_ever(self) -> None:
        while True:
            url = option(self.environment, "ops_url") or self.environment.host
            if url and (self.running or time.monotonic() < self.watched_at + WATCHED_S):
                self.workers.ask(url.rstrip("/"))
            gevent.sleep(ASK_EVERY_S)

    def follow_for_ever(self) -> None:
        while True:
            gevent.sleep(1)
            self.follow()

    def follow(self) -> None:
        """Take in one more second."""
        runner, living = self.environment.runner, {"here"}
        if isinstance(runner, MasterRunner):
            living = set(runner.clients)
        else:
            everywhere.hear("here", here.take())
        figures = everywhere.take(living)
        self.living = self.workers.view(figures.oldest_ping_ms, figures.in_flight)
        self.generator_percent = max(generator_cpu(self.environment), default=0.0)
        self.served.update(figures.served)  # also what Locust's processes report when the run is over
        if not self.running:
            if self.stage is not None:
                self.end()
            return
        self._recent.append(figures)
        self._follow_stage(figures)
        self._point(figures)
        if self.stage is not None:
            pauses = f"{self.stage.words} is over, and its users leave."
            self.line = pauses if self.stage.pausing else line(self._second(self.stage, figures))

    def begin(self) -> None:
        self.points.clear()
        self.marks.clear()
        self.served.clear()
        self._recent.clear()
        self._window = None
        self.stage = None

    def end(self) -> None:
        self.close()
        self.stage = None
        self.line = over(self.workers.plan.get("workers"))

    def _follow_stage(self, figures: Figures) -> None:
        stage = self._stage_now()
        if self.stage is None or stage is None or stage.number != self.stage.number:
            self.close()
            self._recent.clear()
            self._recent.append(figures)
            if stage is not None:
                self.marks.append({"at": time.time(), "words": stage.words})
        self.stage = stage
        if stage is None:
            return
        if stage.pausing:
            self.close()
        elif time.time() >= self.marks[-1]["at"] + SETTLE_S:
            self._window = self._window or Window(stage)
            self._window.add(figures, self.living, self.generator_percent)

    def _stage_now(self) -> Stage | None:
        """Return the stage of the lesson; without a lesson the classes that run are one stage."""
        environment = self.environment
        available: dict[str, Any] = environment.available_user_classes or {}
        shape = environment.shape_class
        if isinstance(shape, Lesson):
            return stage_at(shape.get_run_time(), environment.parsed_options, available)
        chosen = next((each for each in environment.user_classes if getattr(each, "does", "")), None)
        return Stage(1, 1, chosen, 0, False) if chosen else None

    def _second(self, stage: Stage, figures: Figures) -> Second:
        recent, count = self._recent, len(self._recent)
        answered, failed = sum(each.answered for each in recent), sum(each.failed for each in recent)
        return Second(
            stage=stage.words,
            workers=self.living,
            rate=(answered + failed) / count,
            failed=failed / max(1, answered + failed),
            arrivals=sum(each.arrived for each in recent) / count,
            ping_ms=self._ping_ms(figures),
            waits_ms=self.workers.waits_ms,
        )

    def _ping_ms(self, figures: Figures) -> float | None:
        pings = [ms for each in self._recent for ms in each.pings_ms]
        median = statistics.median(pings) if pings else 0.0
        return max(median, figures.oldest_ping_ms) or None

    def _point(self, figures: Figures) -> None:
        served: Counter[str] = sum((each.served for each in self._recent), Counter())
        self.points.append(
            {
                "at": time.time(),
                "ping_ms": self._ping_ms(figures),
                "arrivals": figures.arrived,
                "workers": {
                    worker.number: {
                        "in_flight": worker.in_flight,
                        "cpu_percent": worker.told["cpu_percent"],
                        "loop_lag_ms": worker.for_ms
                        if worker.state in {"frozen", "held"}
                        else worker.told["loop_lag_ms"]["p99"],
                        "answers": round(served[worker.told["id"]] / len(self._recent), 1),
                    }
                    for worker in self.living
                    if worker.lives
                },
            }
        )

    def close(self) -> None:
        """Keep what the stage has measured, because it is over."""
        ended, self._window = self._window, None
        if ended is None:
            return
        crowd: int = ended.stage.scenario.crowd
        users = crowd if ended.stage.of > 1 else option(self.environment, "num_users") or crowd
        if run := ended.run(self.workers.plan, users):
            self.runs.add(run)


def generator_cpu(environment: Environment) -> list[float]:
    """Return the CPU of each Locust process that makes load, in percent of a core."""
    runner = environment.runner
    if isinstance(runner, MasterRunner):
        return [client.cpu_usage for client in runner.clients.values()]
    return [runner.current_cpu_usage] if runner else []
