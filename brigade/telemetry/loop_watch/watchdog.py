"""A thread that wakes now and then to see whether the event loop still turns, and says who holds it when it does not.

It reads stacks and clocks and writes a log line; it never stops or fixes anything.
"""

import asyncio
import contextlib
import os
import queue
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import CodeType

import structlog

from brigade.telemetry.access_log import PATH_SHOWN
from brigade.telemetry.loop_watch.causes import MENDS, Cause, Clocks, Turn, classify
from brigade.telemetry.loop_watch.stacks import Look, Place, is_own, look, place_of, stack
from brigade.telemetry.under_way import Request, request_of

ONGOING_S = 5.0
"""A block this long is reported while it lasts too: its worker may be killed before it ends."""
LOOKS = 400

SETTLE_S = 5.0
"""How long nobody is told that this worker has too little CPU: the other workers are starting too."""

log = structlog.get_logger("service.loop_watch")


@dataclass(frozen=True)
class Incident:
    at: float
    blocked_ms: int
    cause: Cause
    place: Place | None
    seen: str
    """How many of the looks at the stack found this function."""
    requests: tuple[Request, ...]
    """Requests that were found on the loop, the one found most often first."""


class Watchdog:
    def __init__(self, *, blocked_s: float, killed_after_s: float, gc_s: Callable[[], float]) -> None:
        self.blocked_s = blocked_s
        self.ongoing_s = min(ONGOING_S, killed_after_s / 2)
        self.settle_s = SETTLE_S
        self.gc_s = gc_s
        self.due_s = float("inf")
        """When the loop turns next; the loop writes it, as it does `late`."""
        self.late: queue.SimpleQueue[Turn] = queue.SimpleQueue()
        self.incidents: deque[Incident] = deque(maxlen=50)
        self.incidents_total: Counter[Cause] = Counter()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._schedstat: int | None = None

    def start(self, *, loop_code: CodeType | None) -> None:
        """Start the watch. Call this from the thread of the loop."""
        self._loop, self._loop_thread, self._loop_code = asyncio.get_running_loop(), threading.get_ident(), loop_code
        self._settled_s = time.perf_counter() + self.settle_s
        with contextlib.suppress(OSError):  # not Linux
            self._schedstat = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        if self._schedstat is not None:
            os.close(self._schedstat)

    def _watch(self) -> None:
        before = self._clocks()
        while not self._stopped.wait(self.blocked_s / 2):
            if time.perf_counter() - self.due_s > self.blocked_s / 2 or not self.late.empty():
                self._follow(before)
            before = self._clocks()

    def _follow(self, before: Clocks) -> None:
        """Look often until the loop turns again; then report each time it came too late."""
        due_s, told, counted = self.due_s, False, False
        looks: deque[Look] = deque(maxlen=LOOKS)
        while self.due_s == due_s and not self._stopped.is_set():
            looks.append(self._look())
            if not told and looks[-1].at_s - due_s >= self.ongoing_s:
                told, incident = True, self._incident(Turn(due_s, looks[-1].at_s), list(looks), before)
                counted = self._count(incident, due_s)
                report("event loop is blocked", incident)
            self._stopped.wait(max(0.005, self.blocked_s / 10, (looks[-1].at_s - due_s) / LOOKS))
        while not self.late.empty():
            turn = self.late.get()
            incident = self._incident(turn, list(looks), before)
            if (counted and turn.due_s == due_s) or self._count(incident, turn.due_s):
                self.incidents.append(incident)
                report("event loop was blocked", incident)

    def _count(self, incident: Incident, due_s: float) -> bool:
        """Whether it counts: until a start has settled, a worker may have too little CPU. One that lasts is counted before its
        end, which its worker may not live to see.
        """
        counts = incident.cause != "starved" or due_s >= self._settled_s
        self.incidents_total[incident.cause] += counts
        return counts

    def _clocks(self) -> Clocks:
        process_s = time.process_time()
        if self._schedstat is None:  # the process's CPU time must do for the thread's
            return Clocks(time.perf_counter(), process_s, 0, 0, process_s, self.gc_s())
        ran_ns, delayed_ns, slices = map(int, os.pread(self._schedstat, 64, 0).split())
        return Clocks(time.perf_counter(), ran_ns / 1e9, delayed_ns / 1e9, slices, process_s, self.gc_s())

    def _look(self) -> Look:
        frame, request = sys._current_frames()[self._loop_thread], request_of(self._loop)
        return look(frame, at_s=time.perf_counter(), loop_code=self._loop_code, request=request)

    def _incident(self, turn: Turn, looks: list[Look], before: Clocks) -> Incident:
        looks = [each for each in looks if turn.due_s <= each.at_s <= turn.came_s]
        spent = self._clocks().since(before)
        cause = classify(turn, looks, spent, blocked_s=self.blocked_s)
        places = Counter(each.place for each in looks if each.place)
        place = places.most_common(1)[0][0] if places else None
        if cause == "starved":
            place = self._beside() if spent.others_s > self.blocked_s else None
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

    @staticmethod
    def _beside() -> Place | None:
        """Return the place where a thread that serves requests works, for which the loop may be waiting."""
        frames = sys._current_frames()
        busy = [frames.get(thread.ident or 0) for thread in threading.enumerate() if thread.name.startswith("AnyIO")]
        stacks = [list(stack(frame)) for frame in busy]
        return next((place_of(found) for found in stacks if any(map(is_own, found))), None)


def report(event: str, incident: Incident) -> None:
    method, path, identifier = incident.requests[0] if incident.requests else (None, None, None)
    log.warning(
        event,
        blocked_ms=incident.blocked_ms,
        cause=incident.cause,
        method=method,
        path=path and path[:PATH_SHOWN],
        **({"request_id": identifier} if identifier else {}),
        requests=len(incident.requests),
        **(asdict(incident.place) if incident.place else {}),
        seen=incident.seen,
        mend=MENDS[incident.cause],
    )
