"""The states of the master and its workers, in memory that all of them share.

The master imports this before the first fork, so it must not import anything else of ours.
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
    STOPPING = 3
    """It was asked to leave, and serves until a newer worker is ready."""
    RECYCLING = 4
    """It has served its `MAX_REQUESTS`, and serves until a newer worker is ready."""


STAYING = frozenset({State.STARTING, State.READY})


class Row(ctypes.Structure):
    """One worker."""

    _fields_ = (
        ("age", ctypes.c_uint64),  # Gunicorn's number of the worker: a newer worker has a larger one
        ("last_beat", ctypes.c_double),  # of the balance, by time.monotonic()
        ("connections", ctypes.c_uint32),
        ("state", ctypes.c_uint8),
        ("drains", ctypes.c_bool),  # it accepts nothing new and finishes what it has
    )


class Flags(ctypes.Structure):
    __slots__ = ()  # an attribute of another name would be shared with nobody
    _fields_ = (
        ("has_served", ctypes.c_bool),  # some worker of this master has been ready
        ("draining", ctypes.c_bool),  # /readyz answers 503: the whole service is about to stop
        ("stopping", ctypes.c_bool),  # every worker of this master leaves, so none waits for a successor
        ("rows", ctypes.c_uint32),  # as many have been in use at the same time; the rest need not be looked at
    )


class Roster:
    """The workers that live now, a row each. The master enters a worker before it forks it."""

    SLOTS = 1024
    """A reload runs old and new workers together, so the most workers are half as many."""

    def __init__(self) -> None:
        table = Row * self.SLOTS
        self._rows = table.from_buffer(mmap.mmap(-1, ctypes.sizeof(table)))
        self.flags = Flags.from_buffer(mmap.mmap(-1, ctypes.sizeof(Flags)))

    def __getitem__(self, slot: int) -> Row:
        return self._rows[slot]

    def enter(self, age: int) -> int:
        """Return the slot of a new worker."""
        slot = min(range(self.SLOTS), key=lambda slot: self._rows[slot].state)
        self._rows[slot] = Row(age=age, state=State.STARTING)
        self.flags.rows = max(self.flags.rows, slot + 1)
        return slot

    def forget(self, age: int) -> None:
        """The worker was never forked."""
        for row in self._in_use():
            if row.age == age:
                row.state = State.GONE

    def state(self, slot: int) -> State:
        return State(self._rows[slot].state)

    def set_state(self, slot: int, state: State) -> None:
        self._rows[slot].state = state
        if state is State.READY:
            self.flags.has_served = True

    def has_newer(self, slot: int, *states: State) -> bool:
        age = self._rows[slot].age
        return any(row.age > age and row.state in states for row in self._in_use())

    def others(self, slot: int, *, since: float) -> list[Row]:
        """The rows of the other workers that have shown a sign of life since then."""
        age = self._rows[slot].age
        return [row for row in self._in_use() if row.last_beat > since and row.state and row.age != age]

    def _in_use(self) -> list[Row]:
        return self._rows[: self.flags.rows]


@dataclass
class Lifecycle:
    connections: int = 0
    """Client connections that are open now, idle ones included."""
    surplus: int = 0
    """Clients to ask, with their next answers, to connect again: other workers have room."""
    leaving: bool = False
    """This worker accepts no new connections and asks its clients to go."""
    rehearsing: bool = False
    """This process starts and ends the application once, serves nobody, and is no worker."""
    refused: Counter[int] = field(default_factory=Counter)
    """Requests that never reached the application, by the status they were answered with."""

    @property
    def draining(self) -> bool:
        """The whole service is about to stop, and `/readyz` says so. A worker that a reload replaces does not say so,
        because a proxy that asks it over an old connection would take the whole service out.
        """
        return bool(roster.flags.draining)


roster = Roster()
lifecycle = Lifecycle()
"""The lifecycle of this process, which has one worker."""
