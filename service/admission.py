"""How many requests begin in one turn of the event loop: the others wait, in order, for the turns after it.

What is under way goes before what is new. Were everything begun that has been read, a turn would take as long as the
crowd is large, and each answer of a backend, each new connection and each health check would wait for it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial

TURN_S = 0.004
"""As long as turns should be while requests wait: after a shorter one more begin, after a longer one fewer."""
LEAST = 4


class Admission:
    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()
        self._most = self._left = LEAST
        self._turning = False
        self._scheduled_s = 0.0

    def admit(self, begin: Callable[[], None]) -> None:
        """Call `begin` now, or in a later turn in the context of now."""
        if self._left:
            self._left -= 1
            begin()
        else:
            self.waiting.append(partial(copy_context().run, begin))
        if not self._turning:
            self._schedule()

    def _schedule(self) -> None:
        self._turning = True
        self._scheduled_s = time.perf_counter()
        asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        if self.waiting:
            in_time = time.perf_counter() - self._scheduled_s < TURN_S
            self._most = self._most + 1 if in_time else max(LEAST, self._most // 2)
        self._left = self._most
        self._turning = False
        while self.waiting and self._left:
            self._left -= 1
            self.waiting.popleft()()
        if self._left < self._most:
            self._schedule()


admission = Admission()
"""Of this process; there is one event loop in it."""
