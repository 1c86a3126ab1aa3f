"""Access to the lab: which requests may enter, how long they work, and what they are answered."""

import os
import socket
import time
from collections.abc import AsyncIterator
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, Field

from brigade.errors import Problem, Unavailable
from brigade.lab.cache import LabCache
from brigade.resources import Resources

MAX_IN_FLIGHT = 2000
"""Requests in the lab of one worker: a thousand sleepers and as many to spare, about 100 MB."""
MAX_VIEWERS = 8
"""Viewers of one worker. Each asks Redis five times a second."""
WORKER = f"{socket.gethostname()}:{os.getpid()}"


class LabOff(Problem):
    status, type, title = 404, "urn:problem:lab-off", "The lab is off"


class LabFull(Unavailable):
    type, title = "urn:problem:lab-full", "The lab is full"


class Lab:
    def __init__(self, resources: Resources, cache: LabCache, *, iterations_per_ms: int) -> None:
        self.resources = resources
        self.cache = cache
        self.iterations_per_ms = iterations_per_ms
        self.process = CapacityLimiter(1)
        self.in_flight = 0
        self.viewers = 0


class Answer(BaseModel):
    ms: int
    """Milliseconds that were asked for."""
    took_ms: float
    """Milliseconds since the route was reached, which includes the wait for a thread or a lane."""
    where: str
    worker: str = Field(default_factory=lambda: WORKER)  # in the document of the API a default would name the process


class Task:
    """The work that a request asked for, and the clock that started when it entered."""

    def __init__(self, lab: Lab, ms: int) -> None:
        self.lab, self.ms = lab, ms
        self.started_s = time.perf_counter()

    @property
    def iterations(self) -> int:
        return self.ms * self.lab.iterations_per_ms

    def answer(self, where: str) -> Answer:
        return Answer(ms=self.ms, took_ms=took_ms(self.started_s), where=where)


def took_ms(started_s: float) -> float:
    return round((time.perf_counter() - started_s) * 1000, 2)


async def get_lab(request: Request) -> Lab:
    lab: Lab | None = request.state.lab
    if lab is None:
        raise LabOff("Set LAB_ENABLED=true and restart the service; it is a way to hurt a server.")
    return lab


async def enter(
    lab: Annotated[Lab, Depends(get_lab)],
    response: Response,
    ms: Annotated[int, Query(ge=1, le=5000, description="How long the work takes, in milliseconds.")] = 200,
    close: Annotated[
        bool, Query(description="Close the connection afterwards, so that the next request may reach another worker.")
    ] = False,
) -> AsyncIterator[Task]:
    if lab.in_flight >= MAX_IN_FLIGHT:
        raise LabFull(f"{MAX_IN_FLIGHT} requests are in it.")
    if close:
        response.headers["connection"] = "close"
    lab.in_flight += 1
    try:
        yield Task(lab, ms)
    finally:
        lab.in_flight -= 1


async def watch(lab: Annotated[Lab, Depends(get_lab)]) -> AsyncIterator[Lab]:
    if lab.viewers >= MAX_VIEWERS:
        raise LabFull(f"{MAX_VIEWERS} viewers follow it from this worker.", retry_after_s=3)
    lab.viewers += 1
    try:
        yield lab
    finally:
        lab.viewers -= 1


LabTask = Annotated[Task, Depends(enter)]
LabViewer = Annotated[Lab, Depends(watch)]
