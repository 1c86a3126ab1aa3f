"""What master and workers tell each other and the application about their lives. Written by the worker class alone.

Imported by the master before the first fork, so it must stay free of everything else of ours.
"""

import ctypes
import mmap
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum


class State(IntEnum):
    GONE = 0
    STARTING = 1
    READY = 2
    TOLD = 3
    """To stop: it serves until a newer worker is ready, then drains."""
    RELIEVED = 4
    """It has asked the master for one worker more, in its own place."""


class Flags(ctypes.Structure):
    __slots__ = ()  # or another name would be taken, and shared with nobody
    _fields_ = (
        ("has_served", ctypes.c_bool),  # some worker of this master has once been ready
        ("stopping", ctypes.c_bool),  # the service as a whole
        ("rehearsed", ctypes.c_bool),  # by a process to throw away, as new workers will do: the next SIGHUP reloads
    )


class Roster:
    """A byte for each worker, in memory that the master and all its workers share. A worker's age is its index."""

    SIZE = 65_536
    """After so many workers the bytes are used again: by then the first have long gone."""

    def __init__(self) -> None:
        self._states = mmap.mmap(-1, self.SIZE)
        self.flags = Flags.from_buffer(mmap.mmap(-1, ctypes.sizeof(Flags)))

    def __getitem__(self, age: int) -> State:
        return State(self._states[age % self.SIZE])

    def __setitem__(self, age: int, state: State) -> None:
        self._states[age % self.SIZE] = state
        if state is State.READY:
            self.flags.has_served = True

    def has_newer(self, age: int, *states: State) -> bool:
        return any(self._states.find(bytes([state]), age % self.SIZE + 1) >= 0 for state in states)


class Shares:
    """How many connections each worker has, and when it last said so, in memory that all workers share."""

    SLOTS = 256
    """A worker's is its age modulo this: there may be half as many, as a reload runs old and new ones together."""

    def __init__(self) -> None:
        self.connections = memoryview(mmap.mmap(-1, 4 * self.SLOTS)).cast("I")
        self.beats = memoryview(mmap.mmap(-1, 8 * self.SLOTS)).cast("d")

    def alive(self, since: float) -> list[int]:
        return [slot for slot, beat in enumerate(self.beats) if beat > since]


@dataclass
class Lifecycle:
    connections: int = 0
    """Client connections that are open now, idle ones included."""
    surplus: int = 0
    """Clients to be asked, with their next answers, to connect anew: other workers have room."""
    leaving: bool = False
    """This worker takes no new connections and asks its clients to go."""
    refused: Counter[int] = field(default_factory=Counter)
    """Requests that never reached the application, by the status they were answered with."""

    @property
    def draining(self) -> bool:
        """The service as a whole stops, and `/readyz` says so. A worker that a reload replaces does not: a proxy that
        asks it over an old connection would take the whole service out.
        """
        return bool(roster.flags.stopping)


roster = Roster()
shares = Shares()
lifecycle = Lifecycle()
"""Of this process; there is one worker in it."""
