"""The workers of the service: what `/workers` tells of them, and what its silence does."""

import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

import requests
from requests import Session

FROZEN_MS = 300
UNANSWERED_MS = 1500
"""Milliseconds without an answer after which nothing is known of the workers any more."""
HELD_S = 2.0
"""Seconds for which a worker that was frozen is still called so: a line a second would miss most freezes."""
REMEMBER_S = 15.0
"""Seconds for which a worker that died is shown."""
ANSWER_WITHIN_S = 10.0


@dataclass
class Worker:
    number: int
    told: dict[str, Any]
    """The last state in `/workers`."""
    state: str = "serving"
    for_ms: float = 0.0
    """Milliseconds in this state, where that is known: frozen, silent or dead."""
    died_at: float | None = None
    in_flight: int = 0
    """Requests in flight, without the request for `/workers` itself."""
    held: tuple[float, float, int] = (-math.inf, 0.0, 0)
    """Time, length and requests of the last freeze, because a worker turns for a moment between two blocks."""

    @property
    def lives(self) -> bool:
        return self.state not in {"dead", "gone"}

    def copy(self) -> "Worker":
        """Return the state of now, because the worker changes."""
        return replace(self)

    def remember(self) -> None:
        now = time.monotonic()
        if self.state == "frozen":
            self.held = now, self.for_ms, self.in_flight
        at, held_ms, in_flight = self.held
        if self.state == "serving" and now < at + HELD_S:
            self.state, self.for_ms, self.in_flight = "held", held_ms, max(in_flight, self.in_flight)


@dataclass
class Workers:
    """Asks `/workers`: how long the answer takes says whether event loops turn."""

    plan: dict[str, Any] = field(default_factory=dict)
    known: dict[str, Worker] = field(default_factory=dict)
    failure: str = ""
    _numbers: int = 0
    _asks: set[float] = field(default_factory=set)
    """When each request for `/workers` began that is under way."""
    _heard: float = -math.inf
    """When the request began whose answer is the newest."""
    missing_since: float | None = None
    """When the first request began that has no answer, though a newer one may come: a stopped worker may hold it."""

    def __post_init__(self) -> None:
        self._session = Session()
        self._session.trust_env = False  # as the users: a proxy of the environment is not asked for a service

    def ask(self, url: str) -> None:
        """Ask once. Several requests may be under way, so that one that a stopped worker holds does not hide the others."""
        began = time.monotonic()
        self._asks.add(began)
        self.missing_since = self.missing_since or began
        try:
            answer = self._session.get(f"{url}/workers", timeout=ANSWER_WITHIN_S, headers={"Connection": "close"})
            answer.raise_for_status()
            if began > self._heard:
                body, took_ms = answer.json(), (time.monotonic() - began) * 1000
                self.plan = {name: entry["value"] for name, entry in body["plan"].items()}
                self.hear(body["workers"], answer.headers.get("X-Worker"), took_ms)
                self._heard, self.failure = began, ""
                self.missing_since = min((each for each in self._asks if each > began), default=None)
        except requests.Timeout:
            self._fail(began, f"/workers was not answered within {ANSWER_WITHIN_S:g} s.")
        except (requests.RequestException, KeyError, TypeError, ValueError) as error:
            self._fail(began, f"/workers cannot be read: {error}")
        finally:
            self._asks.discard(began)

    def _fail(self, began: float, sentence: str) -> None:
        if began > self._heard:
            self.failure = sentence

    def hear(self, told: list[dict[str, Any]], answered_by: str | None, took_ms: float) -> None:
        now = time.monotonic()
        for state in sorted(told, key=lambda each: each["started_at"]):
            if state["id"] not in self.known:
                self._numbers += 1
                self.known[state["id"]] = Worker(self._numbers, state)
            worker = self.known[state["id"]]
            worker.told, worker.died_at = state, None
            worker.state, worker.for_ms = state["state"], state["stalled_ms"]
            answered = state["id"] == answered_by
            worker.in_flight = max(0, state["in_flight"] - answered)
            stood_ms = min(took_ms, state["loop_lag_ms"]["last_second"])
            if state.get("silent"):
                worker.state = "silent"
            elif answered and worker.state == "serving" and stood_ms >= FROZEN_MS:
                # It serves now, as it answers: but not while it let this answer wait.
                worker.state, worker.for_ms = "frozen", stood_ms
        for identifier in self.known.keys() - {state["id"] for state in told}:
            worker = self.known[identifier]
            worker.died_at = worker.died_at or now
            worker.state = "gone" if worker.state in {"draining", "gone"} else "dead"
            worker.for_ms = (now - worker.died_at) * 1000
            if worker.for_ms > REMEMBER_S * 1000:
                del self.known[identifier]

    def view(self, oldest_ping_ms: float, in_flight: int) -> list[Worker]:
        """Return the workers of now. A lone worker that is frozen cannot say so, but Locust knows what it waits for."""
        living = [worker for worker in self.known.values() if worker.lives]
        if len(living) == 1:
            (worker,) = living
            if min(self.waits_ms, oldest_ping_ms) >= FROZEN_MS:
                worker.state, worker.for_ms = "frozen", min(self.waits_ms, oldest_ping_ms)
            if worker.state == "frozen":
                worker.in_flight = max(worker.in_flight, in_flight)
        for worker in living:
            if self.waits_ms >= UNANSWERED_MS and worker.state in {"serving", "held", "unanswering"}:
                worker.state, worker.for_ms = "unanswering", self.waits_ms
            worker.remember()
        return sorted((worker.copy() for worker in self.known.values()), key=lambda worker: worker.number)

    @property
    def waits_ms(self) -> float:
        return (time.monotonic() - self.missing_since) * 1000 if self.missing_since else 0.0
