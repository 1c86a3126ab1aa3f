"""A steady, bounded load of creating and following links, from a thread, and what became of every request."""

import asyncio
import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import httpx

PAUSE_S = 0.02
MOST_S = 120.0
CREATE, FOLLOW = "POST /links", "GET /r/{code}"
NO_TIME = "urn:problem:database-unavailable"
WANTED = {CREATE: 201, FOLLOW: 307}


@dataclass(frozen=True)
class Outcome:
    what: str
    code: str
    began: float
    ended: float
    status: int | None
    problem: str = ""
    """Its type or, without an answer, what went wrong."""

    @property
    def wanted(self) -> bool:
        return self.status == WANTED[self.what]


@dataclass
class Load:
    """`clients` tasks, each one request at a time; one in twenty creates a link, the others follow one."""

    url: str
    clients: int = 8
    keep_alive: bool = True
    outcomes: list[Outcome] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._ends_at = time.monotonic() + MOST_S
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self.clients):
                group.create_task(self._client())

    async def _client(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=None if self.keep_alive else 0)
        async with httpx.AsyncClient(base_url=self.url, timeout=30, limits=limits, trust_env=False) as client:
            for turn in itertools.count():
                if self._ended.is_set() or time.monotonic() > self._ends_at:
                    return
                await (self._follow(client, turn) if turn % 20 and self.codes else self._create(client))
                await asyncio.sleep(PAUSE_S)

    async def _create(self, client: httpx.AsyncClient) -> None:
        answer = await self._send(client, CREATE, "", json={"url": "https://example.com/a"})
        if answer is not None and answer.status_code == 201:
            self.codes.append(answer.json()["code"])

    async def _follow(self, client: httpx.AsyncClient, turn: int) -> None:
        await self._send(client, FOLLOW, self.codes[turn % len(self.codes)])

    async def _send(self, client: httpx.AsyncClient, what: str, code: str, **options: Any) -> httpx.Response | None:
        method, path = what.replace("{code}", code).split()
        began = time.monotonic()
        try:
            answer = await client.request(method, path, **options)
        except httpx.HTTPError as error:
            self.outcomes.append(Outcome(what, code, began, time.monotonic(), None, repr(error)))
            return None
        problem = "" if answer.is_success or answer.is_redirect else answer.text
        self.outcomes.append(Outcome(what, code, began, time.monotonic(), answer.status_code, problem))
        return answer

    @property
    def lost(self) -> list[Outcome]:
        """Return what was not done, but for what Postgres had no time for here: no rollout is to blame for that."""
        return [each for each in self.outcomes if not each.wanted and NO_TIME not in each.problem]

    @property
    def followed(self) -> Counter[str]:
        """Answered redirects of each link."""
        return Counter(outcome.code for outcome in self.outcomes if outcome.what == FOLLOW and outcome.wanted)

    def succeeds(self, *, after: float) -> bool:
        """Whether a whole round has gone well since."""
        recent = [outcome for outcome in self.outcomes if outcome.began > after]
        return len(recent) >= 5 * self.clients and all(outcome.wanted for outcome in recent[-3 * self.clients :])
