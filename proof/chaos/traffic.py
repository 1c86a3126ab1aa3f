"""Visitors who follow, read, make and draw links at a steady pace, and note what became of each request.

A 503 with `Retry-After` is an honest refusal. A visitor that is cut off without an answer asks again, as browsers do.
"""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from proof.bench.client import Answer, Connection, get, post_link

Outcome = Literal["answered", "refused", "unreachable", "cut", "lost", "wrong"]
"""`cut` had no answer at first and one when asked again; `lost` never had one; `unreachable` found nobody to ask."""

PATIENCE_S = 12.0
KEPT, FRESH = 16, 8
"""Visitors that keep their connections, and that make one for every request."""
PACE_S = 0.1
"""Seconds between two requests of one visitor."""


@dataclass(frozen=True)
class Kind:
    name: str
    share: int


KINDS = [Kind("follow", 60), Kind("read", 18), Kind("create", 10), Kind("draw", 4), Kind("wait", 8)]


@dataclass
class Tally:
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    clicks: int = 0
    """Redirects that visitors got: each is one click, no more and no less."""
    doubtful: int = 0
    """Redirects that were cut: what a killed process had already said, nobody may have heard."""
    failed_at: float = 0.0
    slowest_s: dict[Outcome, float] = field(default_factory=dict)
    wrong: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)

    @property
    def sent(self) -> int:
        return self.outcomes.total()


class Traffic:
    def __init__(
        self, url: str, codes: Sequence[str], *, kinds: Sequence[Kind] = KINDS, kept: int = KEPT, fresh: int = FRESH
    ) -> None:
        self.url = url
        self.codes = codes
        self._kinds, self._shares = kinds, [kind.share for kind in kinds]
        self._keeps = [*[True] * kept, *[False] * fresh]
        self.tally = Tally()
        self._numbers = itertools.count()
        self._tasks: list[asyncio.Task[None]] = []
        self._ending = False
        self.asking = asyncio.Event()
        """While it is not set, everybody waits."""

    async def __aenter__(self) -> "Traffic":
        self._tasks = [asyncio.create_task(self._visit(keep=keep)) for keep in self._keeps]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending = True
        self.asking.set()
        await asyncio.gather(*self._tasks)

    def begin(self) -> Tally:
        """Start a new count."""
        self.tally = Tally()
        return self.tally

    async def _visit(self, *, keep: bool) -> None:
        connection: Connection | None = None
        await asyncio.sleep(PACE_S * random.random())  # noqa: S311
        while not self._ending:
            if connection is not None and not self.asking.is_set():
                connection.close()  # because nobody would see its result
                connection = None
            await self.asking.wait()
            due = time.monotonic() + PACE_S
            connection = await self._ask(connection)
            if connection is not None and not keep:
                connection.close()
                connection = None
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        if connection is not None:
            connection.close()

    async def _ask(self, connection: Connection | None) -> Connection | None:
        """The connection, if it is kept."""
        (kind,) = random.choices(self._kinds, self._shares)  # noqa: S311
        request, began, tally, cut = self._request(kind), time.monotonic(), self.tally, False
        while time.monotonic() < began + PATIENCE_S:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    connection = connection or await self._connect()
                    if connection is not None:
                        answer = await connection.send(request)
                        self._note_answer(tally, kind, answer, began, cut=cut)
                        if answer.headers.get("connection") != "close":
                            return connection
                        connection.close()
                        return None
            except (OSError, EOFError, TimeoutError) as error:
                if connection is not None:
                    connection.close()
                connection = None
                if isinstance(error, TimeoutError):
                    break
                await asyncio.sleep(PACE_S if cut else 0)
                cut, tally.failed_at = True, time.monotonic()
                tally.doubtful += kind.name == "follow"
                continue
            if not cut:
                self._note(tally, "unreachable", began)
                return None
            await asyncio.sleep(PACE_S)  # a client that was cut off asks until there is a listener
        self._note(tally, "lost", began)
        return None

    async def _connect(self) -> Connection | None:
        with suppress(OSError):
            return await Connection.open(self.url)
        return None

    def _note_answer(self, tally: Tally, kind: Kind, answer: Answer, began: float, *, cut: bool) -> None:
        honest = answer.status == 503 and "retry-after" in answer.headers
        outcome: Outcome = "answered" if answer.status < 400 else "refused" if honest else "wrong"
        tally.wrong.update([f"{kind.name} {answer.status}"] if outcome == "wrong" else [])
        tally.refused.update([kind.name] if outcome == "refused" else [])
        tally.clicks += answer.status == 307
        self._note(tally, "cut" if cut and outcome == "answered" else outcome, began)

    @staticmethod
    def _note(tally: Tally, outcome: Outcome, began: float) -> None:
        now = time.monotonic()
        tally.outcomes[outcome] += 1
        tally.slowest_s[outcome] = max(tally.slowest_s.get(outcome, 0.0), now - began)
        if outcome == "answered":
            tally.latencies_s.append(now - began)
        else:
            tally.failed_at = now

    def _request(self, kind: Kind) -> bytes:
        code = random.choice(self.codes)  # noqa: S311
        match kind.name:
            case "follow":
                return get(f"/r/{code}")
            case "read":
                return get(f"/links/{code}")
            case "create":
                return post_link(f"https://example.com/chaos/{next(self._numbers)}")
            case "draw":
                return get(f"/links/{code}/qr?scale=4")
            case _:
                return get("/lab/sleep/awaited?ms=300")
