"""The lesson: one scenario after the other, each alone with a ping beside it. The same shape runs a single scenario.

What Locust's page offers is every scenario that is loaded, so a new file in loadtests/scenarios/ is in the list by itself.
"""

import inspect
from dataclasses import dataclass
from typing import Any

from locust import LoadTestShape

from loadtests.options import LESSON
from loadtests.shape import share

Scenario = Any
"""A class of users, made from `loadtests.visitor.Visitor`, which cannot be imported here: it brings the page along."""
STAGES = ("Awaiting", "Blocking", "OnLoop", "InThreadpool", "InLane", "Everyday")
PAUSE_S = 2.0
"""Between two stages all users leave, so that no request of one stage is measured in the next."""
LESSON_TITLE = "The lesson: one scenario after the other"
LESSON_TEXT = (
    "Two minutes, with as many users as each scenario wants. Concurrency inside a worker first, then one call that blocks "
    "it, then computing in three places, then everyday work. A ping runs beside each and says what the others at the table "
    "notice. Afterwards start the service with another WEB_CONCURRENCY and press Start again: both runs stand side by side."
)
FASTEST = 100
"""Users a second: faster makes Locust warn."""


@dataclass(frozen=True)
class Stage:
    number: int
    of: int
    scenario: Scenario
    began_s: float
    """Seconds of the run."""
    pausing: bool

    @property
    def words(self) -> str:
        does: str = self.scenario.does
        return f"Stage {self.number} of {self.of}: {does}" if self.of > 1 else does[:1].upper() + does[1:]


def scenarios(available: dict[str, Any]) -> dict[str, Scenario]:
    """Return the scenarios in the order of the lesson, then by name."""
    found = {name: each for name, each in available.items() if getattr(each, "does", "")}
    return {name: found[name] for name in [*STAGES, *sorted(found)] if name in found}


def told(scenario: Scenario) -> tuple[str, str]:
    """Return the title of a scenario, and what to look for."""
    title, _, text = inspect.cleandoc(scenario.__doc__ or scenario.__name__).partition("\n")
    return title, " ".join(text.split())


def stage_at(now_s: float, options: Any, available: dict[str, Any]) -> Stage | None:
    """Return the stage of a moment; None once the lesson is over. A single scenario is one stage without an end."""
    known = scenarios(available)
    if options.scenario != LESSON:
        return Stage(1, 1, known[options.scenario], 0, False)
    stages = [known[name] for name in STAGES if name in known]
    each_s = options.stage_s + PAUSE_S
    place = int(now_s / each_s)
    if place >= len(stages):
        return None
    since_s = now_s - place * each_s
    return Stage(place + 1, len(stages), stages[place], place * each_s, since_s >= options.stage_s)


class Lesson(LoadTestShape):
    use_common_options = True

    def tick(self) -> tuple[int, float, list[Any]] | None:
        assert self.runner
        environment = self.runner.environment
        options: Any = environment.parsed_options
        available: dict[str, Any] = environment.available_user_classes or {}
        now_s = self.get_run_time()
        stage = stage_at(now_s, options, available)
        if stage is None:
            return None
        if stage.of > 1:
            wanted = 0 if stage.pausing else _crowd(stage.scenario, stage.scenario.crowd)
            return wanted, FASTEST, [stage.scenario, available["Ping"]]
        present = share(options.load, now_s, options.run_time)
        if present is None:
            return None
        users = _crowd(stage.scenario, options.num_users or stage.scenario.crowd, present)
        return users, min(FASTEST, options.spawn_rate or FASTEST), [stage.scenario, available["Ping"]]


def _crowd(scenario: Scenario, users: int, present: float = 1.0) -> int:
    """Return how many users to run, the ping included."""
    return 2 if scenario.fixed_count else 1 + max(1, round(users * present))
