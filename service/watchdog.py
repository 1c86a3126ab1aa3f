"""A thread that wakes now and then to see whether the event loop still turns, and says who holds it when it does not.

It reads stacks and clocks and writes a log line; it never stops or mends anything.
"""

import itertools
import queue
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import CodeType
from typing import Literal, NamedTuple

import structlog

from service.observe import Request
from service.stacks import Look, Place, is_own, look, place_of, stack

Cause = Literal["blocking call", "cpu on the loop", "garbage collection", "starved"]

MENDS: dict[Cause, str] = {
    "blocking call": "await an async version of this call, or make the route a plain def",
    "cpu on the loop": "make it a plain def under @on_cpu_lane",
    "garbage collection": "keep fewer objects alive, or call gc.freeze() once the long-lived ones exist",
    "starved": "give the process more CPU, and run what its threads compute on the CPU lane",
}

ONGOING_S = 5.0
"""A block this long is reported while it lasts too: its worker may be killed before it ends."""
LOOKS = 400

log = structlog.get_logger("service.loop_watch")


class Turn(NamedTuple):
    due_s: float
    came_s: float


class Clocks(NamedTuple):
    wall_s: float
    loop_s: float
    process_s: float
    gc_s: float


@dataclass(frozen=True)
class Incident:
    at: float
    blocked_ms: int
    cause: Cause
    place: Place | None
    seen: str
    """How many of the looks at the stack found this function."""
    requests: tuple[Request, ...]
    """Those found on the loop, the one found most often first."""


class Watchdog:
    def __init__(self, *, blocked_s: float, killed_after_s: float, gc_s: Callable[[], float]) -> None:
        self.blocked_s = blocked_s
        self.ongoing_s = min(ONGOING_S, killed_after_s / 2)
        self.gc_s = gc_s
        self.due_s = float("inf")
        """When the loop turns next; the loop writes it, as it does `late`."""
        self.late: queue.SimpleQueue[Turn] = queue.SimpleQueue()
        self.incidents: deque[Incident] = deque(maxlen=50)
        self.incidents_total: Counter[Cause] = Counter()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, *, thread_id: int, loop_code: CodeType | None) -> None:
        self._loop_thread, self._loop_code = thread_id, loop_code
        self._loop_clock = time.pthread_getcpuclockid(thread_id)
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        before = self._clocks()
        while not self._stopped.wait(self.blocked_s / 2):
            if time.perf_counter() - self.due_s > self.blocked_s / 2 or not self.late.empty():
                self._follow(before)
            before = self._clocks()

    def _follow(self, before: Clocks) -> None:
        """Look often until the loop turns again; then report each time it came too late."""
        due_s, told = self.due_s, False
        looks: deque[Look] = deque(maxlen=LOOKS)
        while self.due_s == due_s and not self._stopped.is_set():
            looks.append(self._look())
            if not told and looks[-1].at_s - due_s >= self.ongoing_s:
                told = True
                report("event loop is blocked", self._incident(Turn(due_s, looks[-1].at_s), list(looks), before))
            self._stopped.wait(max(0.005, self.blocked_s / 10, (looks[-1].at_s - due_s) / LOOKS))
        while not self.late.empty():
            incident = self._incident(self.late.get(), list(looks), before)
            self.incidents.append(incident)
            self.incidents_total[incident.cause] += 1
            report("event loop was blocked", incident)

    def _clocks(self) -> Clocks:
        return Clocks(time.perf_counter(), time.clock_gettime(self._loop_clock), time.process_time(), self.gc_s())

    def _look(self) -> Look:
        frame = sys._current_frames()[self._loop_thread]
        return look(frame, at_s=time.perf_counter(), loop_code=self._loop_code)

    def _incident(self, turn: Turn, looks: list[Look], before: Clocks) -> Incident:
        looks = [each for each in looks if turn.due_s <= each.at_s <= turn.came_s]
        cause = classify(turn, looks, before, self._clocks())
        places = Counter(each.place for each in looks if each.place)
        place = places.most_common(1)[0][0] if places and cause != "starved" else self._beside()
        seen = sum(place is not None and each.function == place.function for each in places.elements())
        requests = Counter(each.request for each in looks if each.request).most_common(20)
        return Incident(
            at=time.time() - time.perf_counter() + turn.due_s,
            blocked_ms=round((turn.came_s - turn.due_s) * 1000),
            cause=cause,
            place=place,
            seen=f"{seen}/{len(looks)}",
            requests=tuple(request for request, _ in requests),
        )

    def _beside(self) -> Place | None:
        """Where another thread of ours runs: what the loop may be waiting for."""
        not_it = {self._loop_thread, threading.get_ident()}
        stacks = [list(stack(frame)) for thread, frame in sys._current_frames().items() if thread not in not_it]
        return next((place_of(frames) for frames in stacks if any(map(is_own, frames))), None)


def report(event: str, incident: Incident) -> None:
    method, path, identifier = incident.requests[0] if incident.requests else (None, None, None)
    log.warning(
        event,
        blocked_ms=incident.blocked_ms,
        cause=incident.cause,
        method=method,
        path=path,
        **({"request_id": identifier} if identifier else {}),
        requests=len(incident.requests),
        **(asdict(incident.place) if incident.place else {}),
        seen=incident.seen,
        mend=MENDS[incident.cause],
    )


def classify(turn: Turn, looks: list[Look], before: Clocks, after: Clocks) -> Cause:
    """By what the loop's thread did meanwhile: collected, computed, stood at one instruction, or none of these."""
    late_s = turn.came_s - turn.due_s
    if after.gc_s - before.gc_s > late_s / 2:
        return "garbage collection"
    if after.loop_s - before.loop_s > (after.wall_s - before.wall_s) / 2:
        return "cpu on the loop"
    glances = [turn.due_s, *(each.at_s for each in looks), turn.came_s]
    longest_gap_s = max(later - earlier for earlier, later in itertools.pairwise(glances))
    instructions = Counter(each.instruction for each in looks if each.place)
    stood_still = instructions and instructions.most_common(1)[0][1] > len(looks) / 2
    # A watchdog that could not look either shared the loop's fate: no CPU for the process, or no GIL.
    return "blocking call" if stood_still and longest_gap_s < late_s / 2 + 0.05 else "starved"
