"""Why a loop came too late: a verdict from what clocks say and what was seen meanwhile. Reads neither itself."""

import itertools
import operator
from collections import Counter
from typing import Literal, NamedTuple

from brigade.telemetry.loop_watch.stacks import Look

Cause = Literal["blocking call", "cpu on the loop", "garbage collection", "starved"]

MENDS: dict[Cause, str] = {
    "blocking call": "await an async version of this call, or make the route a plain def",
    "cpu on the loop": "make it a plain def under @on_cpu_lane",
    "garbage collection": "keep fewer objects alive, or call gc.freeze() once the long-lived ones exist",
    "starved": "give the process more CPU, and run what its threads compute on the CPU lane",
}

GIL_SLICES_A_SECOND = 100


class Turn(NamedTuple):
    due_s: float
    came_s: float


class Clocks(NamedTuple):
    wall_s: float
    ran_s: float
    delayed_s: float
    """The loop's thread could have run, and had no CPU."""
    slices: float
    """How often it was given a CPU."""
    process_s: float
    gc_s: float

    @property
    def others_s(self) -> float:
        return self.process_s - self.ran_s

    def since(self, before: "Clocks") -> "Clocks":
        return Clocks(*map(operator.sub, self, before))


def classify(turn: Turn, looks: list[Look], spent: Clocks, *, blocked_s: float) -> Cause:
    """Name the cause by what the loop's thread did meanwhile: collected, computed, stood at one instruction, or none of these."""
    late_s = turn.came_s - turn.due_s
    if spent.gc_s > late_s / 2:
        return "garbage collection"
    could_run_s = spent.ran_s + spent.delayed_s
    if spent.ran_s > spent.wall_s / 2 or (spent.ran_s > blocked_s and could_run_s > spent.wall_s / 2):
        return "cpu on the loop"
    # A thread that waits for the GIL wakes each switch interval to ask for it; one that waits in a call sleeps.
    wants_gil = spent.others_s > late_s / 2 and spent.slices > GIL_SLICES_A_SECOND * late_s
    # A watchdog that could not look either shared the loop's fate: the process had no CPU.
    glances = [turn.due_s, *(each.at_s for each in looks), turn.came_s]
    blind_s = max(later - earlier for earlier, later in itertools.pairwise(glances))
    if spent.delayed_s > late_s / 2 or wants_gil or blind_s > late_s / 2 + blocked_s / 2:
        return "starved"
    instructions = Counter(each.instruction for each in looks if each.place)
    stood_still = instructions and instructions.most_common(1)[0][1] > len(looks) / 2
    return "blocking call" if stood_still else "starved"
