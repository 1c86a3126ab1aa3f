"""The state of a worker at one moment, as `/workers` shows it. This module only reads attributes of others."""

import os
import socket
import time
from typing import Literal

import psutil
from pydantic import BaseModel

from brigade.resources import Resources
from brigade.server.admission import admission
from brigade.server.lifecycle import lifecycle
from brigade.server.streams import streams
from brigade.telemetry.metrics import WorkerStats

FROZEN_MS = 300
"""A loop that has been due for as long is frozen; a shorter stall is part of `loop_lag_ms`."""


class LoopLag(BaseModel):
    """Milliseconds by which the loop turned later than due: percentiles of the last ten seconds."""

    p50: float
    p99: float
    max: float
    last_second: float = 0.0
    """The most of the last second, so that what went before is not taken for what is now."""


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
    state: Literal["starting", "serving", "frozen", "draining"]
    stalled_ms: int
    """How long the event loop has been due to turn; 0 while it turns."""
    silent: bool = False
    """The process itself does not run, as after `kill -STOP`: another worker of its host says so for it."""
    started_at: float
    requests_total: int
    in_flight: int
    connections: int
    streams: int = 0
    loop_lag_ms: LoopLag
    cpu_lane: LaneState
    db_pool: PoolState
    rss_mb: float
    cpu_percent: float


def in_flight(stats: WorkerStats) -> int:
    """Requests that wait for their answer, those included that the application has not seen yet."""
    return stats.in_flight + len(admission.waiting)


class OwnState:
    """The state of this worker, from any of its threads."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.host, self.pid = socket.gethostname(), os.getpid()
        self.id = f"{self.host}:{self.pid}"
        self._process = psutil.Process()
        self._cpu_percent = 0.0

    def measure_cpu(self) -> None:
        """Measure the CPU time since the last call, in percent of one core. Called more often it would be noise."""
        self._cpu_percent = self._process.cpu_percent()

    def read(self) -> WorkerState:
        resources = self.resources
        stats, lane, pg = resources.stats, resources.lane, resources.pg
        idle = pg.get_idle_size()
        state, stalled_ms = self._state()
        return WorkerState(
            id=self.id,
            host=self.host,
            pid=self.pid,
            state=state,
            stalled_ms=stalled_ms,
            started_at=round(stats.started_at, 3),
            requests_total=stats.requests_total,
            in_flight=in_flight(stats),
            connections=lifecycle.connections,
            streams=streams.count,
            loop_lag_ms=LoopLag(**resources.loop_watch.lag_ms()),
            cpu_lane=LaneState(running=lane.running, waiting=lane.waiting, threads=lane.threads),
            db_pool=PoolState(in_use=pg.get_size() - idle, idle=idle, max=pg.get_max_size()),
            rss_mb=round(self._process.memory_info().rss / 2**20, 1),
            cpu_percent=self._cpu_percent,
        )

    def _state(self) -> tuple[Literal["starting", "serving", "frozen", "draining"], int]:
        watch = self.resources.loop_watch
        if not watch.watching:
            return "starting", 0
        stalled_ms = max(0, round((time.perf_counter() - watch.watchdog.due_s) * 1000))
        if stalled_ms >= FROZEN_MS:
            return "frozen", stalled_ms
        return ("draining" if lifecycle.leaving else "serving"), 0
