"""Every live worker of every replica: each writes its state to Redis once a second, and Redis forgets the dead."""

import contextlib
import os
import socket
from typing import Any

import psutil
from pydantic import BaseModel, ValidationError

from brigade.errors import CacheUnavailable
from brigade.resources import Resources
from brigade.server.admission import admission
from brigade.server.lifecycle import lifecycle
from brigade.stores import copies
from brigade.tasks import end, supervised
from brigade.telemetry.metrics import WorkerStats

PUBLISH_EVERY_S = 1.0
FORGET_AFTER_MS = 4000
"""A dead worker is gone within 5 s; three writes may be late before a live one goes."""

INDEX = "{workers}:index"


class LoopLag(BaseModel):
    p50: float
    p99: float
    max: float


class LaneState(BaseModel):
    running: int
    waiting: int
    threads: int


class PoolState(BaseModel):
    in_use: int
    idle: int
    max: int


class WorkerState(BaseModel):
    id: str
    host: str
    pid: int
    started_at: float
    requests_total: int
    in_flight: int
    connections: int
    loop_lag_ms: LoopLag
    cpu_lane: LaneState
    db_pool: PoolState
    rss_mb: float
    cpu_percent: float


def in_flight(stats: WorkerStats) -> int:
    """Requests that wait for their answer, those included that the application has not seen yet."""
    return stats.in_flight + len(admission.waiting)


class Registry:
    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.host, self.pid = socket.gethostname(), os.getpid()
        self.id = f"{self.host}:{self.pid}"
        self._process = psutil.Process()
        self._cpu_percent = 0.0
        """Of one core, since the last write: asked for more often than that it would be noise."""
        self._key = f"{{workers}}:{self.id}"

    async def __aenter__(self) -> "Registry":
        self._task = supervised("registry", self._publish, every_s=PUBLISH_EVERY_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._task)
        with contextlib.suppress(CacheUnavailable):
            await self.resources.cache.run(lambda redis: redis.delete(self._key))

    async def _publish(self) -> None:
        self._cpu_percent = self._process.cpu_percent()
        state = self.own_state().model_dump_json()

        async def write(redis: Any) -> None:
            async with redis.pipeline(transaction=False) as pipe:
                pipe.set(self._key, state, px=FORGET_AFTER_MS)
                pipe.sadd(INDEX, self._key)
                await pipe.execute()
            await copies.sign(redis)

        await self.resources.cache.run(write)

    async def workers(self) -> tuple[list[WorkerState], bool]:
        """Return the live workers, and whether these are all of them: without Redis it is this one alone."""
        try:
            found, complete = await self.resources.cache.run(self._read)
        except CacheUnavailable:
            return [self.own_state()], False
        others = [state for state in found if state.id != self.id]
        return sorted([self.own_state(), *others], key=lambda state: (state.host, state.pid)), complete

    @staticmethod
    async def _read(redis: Any) -> tuple[list[WorkerState], bool]:
        """The states that this version can read, and whether these are all: another one may run beside it."""
        keys = list(await redis.smembers(INDEX))
        values = await redis.mget(keys) if keys else []
        if gone := [key for key, value in zip(keys, values, strict=True) if value is None]:
            await redis.srem(INDEX, *gone)
        states: list[WorkerState] = []
        for value in (written := [value for value in values if value is not None]):
            with contextlib.suppress(ValidationError):
                states.append(WorkerState.model_validate_json(value))
        return states, len(states) == len(written)

    def own_state(self) -> WorkerState:
        resources = self.resources
        stats, lane, pg = resources.stats, resources.lane, resources.pg
        idle = pg.get_idle_size()
        return WorkerState(
            id=self.id,
            host=self.host,
            pid=self.pid,
            started_at=round(stats.started_at, 3),
            requests_total=stats.requests_total,
            in_flight=in_flight(stats),
            connections=lifecycle.connections,
            loop_lag_ms=LoopLag(**resources.loop_watch.lag_ms()),
            cpu_lane=LaneState(running=lane.running, waiting=lane.waiting, threads=lane.threads),
            db_pool=PoolState(in_use=pg.get_size() - idle, idle=idle, max=pg.get_max_size()),
            rss_mb=round(self._process.memory_info().rss / 2**20, 1),
            cpu_percent=self._cpu_percent,
        )
