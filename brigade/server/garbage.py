"""Collects garbage at each heartbeat, because few objects may hold many bytes. CPython looks when many objects were made."""

import gc

MIDDLE_EVERY, OLD_EVERY = 10, 100
GROWN = 1.25
"""The old are looked at when they are so many times as many, as in CPython: to look at a million takes a tenth of a second."""


class Garbage:
    """Collects the young at each turn, and those that survived in some turns.

    CPython counts towards the older generations, but looks at its counts only when it collects by itself. So what was
    alive at one turn, and ended later in a cycle, as a failed future with its frames does, would never be freed.
    """

    def __init__(self) -> None:
        self._turns = 0
        self._old = 0

    def collect(self) -> None:
        self._turns += 1
        if self._turns % OLD_EVERY == 0 and _old() > GROWN * self._old:
            gc.collect()
            self._old = _old()
        else:
            gc.collect(1 if self._turns % MIDDLE_EVERY == 0 else 0)  # 1 ms


def _old() -> int:
    return len(gc.get_objects(generation=2))
