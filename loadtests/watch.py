"""Follows a run second by second: what each worker of the service does, which stage it is, and what is left of each stage."""

import os
import time
from collections import Counter, deque
from dataclasses import replace
from typing import Any

import gevent
from gevent.pool import Pool
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING, MasterRunner

from loadtests.lesson import Lesson, Stage, stage_at
from loadtests.machine import Machine, is_beside
from loadtests.measured import Figures, everywhere, here
from loadtests.options import option
from loadtests.recent import Recent
from loadtests.runs import Runs
from loadtests.window import Window
from loadtests.words import line, over
from loadtests.workers import Worker, Workers

ASK_EVERY_S = 0.4
ASKS_AT_ONCE = 4
STARTED_BY = "LOCUST_STARTED_BY"
"""The variable with the command that starts the service and Locust."""
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
        self.machine = Machine()
        self.recent = Recent()
        self._last = Figures()
        self._window: Window | None = None

    @property
    def running(self) -> bool:
        runner = self.environment.runner
        return runner is not None and runner.state in {STATE_SPAWNING, STATE_RUNNING}

    def ask_for_ever(self) -> None:
        asks = Pool(ASKS_AT_ONCE)
        while True:
            url = option(self.environment, "ops_url") or self.environment.host
            if url and (self.running or time.monotonic() < self.watched_at + WATCHED_S) and asks.free_count():
                asks.spawn(self.workers.ask, url.rstrip("/"))
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
        self._last = figures = everywhere.take(living)
        self.look()
        generators = generator_cpu(self.environment)
        self.generator_percent = max(generators, default=0.0)
        self.machine.measure(sum(each.told["cpu_percent"] for each in self.living if each.lives), sum(generators))
        self.served.update(figures.served)  # also what Locust's processes report when the run is over
        if not self.running:
            if self.stage is not None:
                self.end()
            return
        self.recent.add(figures)
        self._follow_stage(figures)
        self.points.append(self.recent.point(self.living))
        self.look()

    def look(self) -> None:
        """Bring the workers and the line on top up to this moment."""
        oldest_ping_ms = max(self._last.oldest_ping_ms, here.oldest_ping_ms)
        self.living = self.workers.view(oldest_ping_ms, self._last.in_flight)
        if self.running and self.stage is not None:
            pauses = f"{self.stage.words} is over, and its users leave."
            second = self.recent.second(self.stage.words, self.living, oldest_ping_ms)
            self.line = pauses if self.stage.pausing else line(second)

    def begin(self) -> None:
        self.points.clear()
        self.marks.clear()
        self.served.clear()
        self.recent.clear()
        self._window = None
        self.stage = None

    def end(self) -> None:
        self.close()
        self.stage = None
        self.line = over(self.workers.plan.get("workers"), os.environ.get(STARTED_BY, ""))

    def _follow_stage(self, figures: Figures) -> None:
        stage = self._stage_now()
        if self.stage is None or stage is None or stage.number != self.stage.number:
            self.close()
            self.recent.clear()
            self.recent.add(figures)
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

    def close(self) -> None:
        """Keep what the stage has measured, because it is over."""
        ended, self._window = self._window, None
        if ended is None:
            return
        crowd: int = ended.stage.scenario.crowd
        users = crowd if ended.stage.of > 1 else option(self.environment, "num_users") or crowd
        if run := ended.run(self.workers.plan, users):
            others = self.machine.others_cores(os.cpu_count() or 1) if is_beside(self.environment.host) else 0.0
            self.runs.add(replace(run, others_cores=others))


def generator_cpu(environment: Environment) -> list[float]:
    """Return the CPU of each Locust process that makes load, in percent of a core."""
    runner = environment.runner
    if isinstance(runner, MasterRunner):
        return [client.cpu_usage for client in runner.clients.values()]
    return [runner.current_cpu_usage] if runner else []
