"""The WebSockets and event streams that this worker holds, and how they are told when it leaves."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

Kind = Literal["websocket", "events"]

TOLD_PER_S = 100
"""Streams of one worker to tell in a second, so that their clients do not all come back in the same one."""
SPREAD_SHARE = 0.5
"""The part of the drain over which they are told at most. The rest is for their ends."""

ABANDONED_S = 2.0
"""Seconds for the application to end after its client has gone, before it is cancelled, and between one cancellation and the
next: it may wait for something else.
"""


class Streams:
    def __init__(self) -> None:
        self.open: Counter[Kind] = Counter({"websocket": 0, "events": 0})
        self.opened: Counter[Kind] = Counter()
        self.refused: Counter[str] = Counter()
        """Streams that were not opened, by the reason."""
        self._tell: dict[int, Callable[[], None]] = {}

    @property
    def count(self) -> int:
        return self.open.total()

    @contextmanager
    def held(self, kind: Kind) -> Iterator[None]:
        self.open[kind] += 1
        self.opened[kind] += 1
        try:
            yield
        finally:
            self.open[kind] -= 1

    def join(self, stream: object, tell: Callable[[], None]) -> None:
        """Have `tell` called when the worker leaves, unless the stream has left before."""
        self._tell[id(stream)] = tell

    def leave(self, stream: object) -> None:
        self._tell.pop(id(stream), None)

    def tell_all(self, within_s: float = 0.0) -> None:
        """Tell every stream that the worker leaves, in random order, spread over the time that their number takes."""
        streams = list(self._tell)
        random.shuffle(streams)
        spread_s = min(within_s * SPREAD_SHARE, len(streams) / TOLD_PER_S)
        loop = asyncio.get_running_loop()
        for place, stream in enumerate(streams):
            loop.call_later(spread_s * place / len(streams), self._tell_one, stream)

    def _tell_one(self, stream: int) -> None:
        tell = self._tell.pop(stream, None)
        if tell is not None:
            tell()


streams = Streams()
"""The streams of this process, which has one worker."""
