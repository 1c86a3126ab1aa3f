"""Tells Prometheus once a second what this worker is and has counted, from a thread, so that it also tells of a blocked loop.

It reads attributes of others and changes none.
"""

import asyncio
import os
import platform
import threading
import time
from functools import partial

import psutil
import structlog
from prometheus_client import Counter, Histogram

from brigade import __version__
from brigade.ops.workers import in_flight
from brigade.resources import Resources
from brigade.server.lifecycle import lifecycle
from brigade.server.streams import streams
from brigade.tasks import FAILURES
from brigade.telemetry import metrics
from brigade.telemetry.log_throttle import LogThrottle
from brigade.telemetry.loop_watch import BUCKETS_S
from brigade.telemetry.loop_watch.causes import MENDS
from brigade.telemetry.metrics import tell, tell_histogram

EVERY_S = 1.0

# In no registry, so that a runner of jobs, which has no worker's state to tell, does not say that Postgres is down.
counter, histogram = partial(Counter, registry=None), partial(Histogram, registry=None)
gauge = partial(metrics.gauge, registry=None)

BUILD = gauge("build_info", "1, for its labels.", ["version", "python"])
PLAN = gauge("plan", "What sizing made of the machine, by name.", ["name"])
STARTS = counter("worker_starts", "Workers that began to serve.")
MEMORY = gauge("worker_resident_memory_bytes", "Memory of the worker.")
CPU = gauge("worker_cpu_cores", "CPUs that the worker used in the last second.")
IN_FLIGHT = gauge("http_requests_in_flight", "Requests that wait for their answer.")
CONNECTIONS = gauge("http_connections", "Client connections, idle ones included.")
REFUSED = counter("http_requests_refused", "Answers the server gave for the application.", ["status"])
STREAMS = gauge("streams", "WebSockets and event streams that are open.", ["kind"])
STREAMS_OPENED = counter("streams_opened", "WebSockets and event streams that were opened.", ["kind"])
STREAMS_REFUSED = counter("streams_refused", "WebSockets and event streams that were not, by why.", ["reason"])

LAG = histogram("event_loop_lag_seconds", "How much later than due the loop turned.", buckets=BUCKETS_S)
STALL = gauge("event_loop_stall_seconds", "How long the loop has been due to turn.")
TASKS = gauge("event_loop_tasks", "Tasks of the loop; each request has one.")
BLOCKED = counter("event_loop_blocked", "Times the loop was blocked, by why.", ["cause"])

LANE = gauge("cpu_lane_jobs", "Jobs of the CPU lane now.", ["state"])
LANE_DONE = counter("cpu_lane_jobs_done", "Jobs the CPU lane has ended.")
LANE_REJECTED = counter("cpu_lane_jobs_rejected", "Jobs the full CPU lane refused.")

POOL = gauge("postgres_pool_connections", "Connections of the pool.", ["state"])
POOL_MAX = gauge("postgres_pool_connections_max", "Connections the pool may have.")
POOL_WAITING = gauge("postgres_pool_waiting", "Callers that wait for a connection.")
POSTGRES_UP = gauge("postgres_up", "Whether Postgres took the last connection asked of it.")

BREAKER = gauge("redis_breaker_open", "Whether Redis is left alone for a moment.")
OPENED = counter("redis_breaker_opened", "Times the breaker opened.")

log = structlog.get_logger("service.metrics")


class Publisher:
    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self._process = psutil.Process()
        self._cpu_s, self._at_s = time.process_time(), time.monotonic()
        self._throttle = LogThrottle()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def __enter__(self) -> None:
        self._event_loop = asyncio.get_running_loop()
        STARTS.inc()
        BUILD.labels(__version__, platform.python_version()).set(1)
        for name, entry in self.resources.plan.as_json().items():
            PLAN.labels(name).set(entry["value"] or 0)
        for cause in MENDS:
            BLOCKED.labels(cause)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._publish()

    def _run(self) -> None:
        while not self._stopped.wait(EVERY_S):
            self._publish()

    def _publish(self) -> None:
        """Tell every figure. One that cannot be told holds up no other."""
        for tell_news in (self._worker, self._streams, self._loop, self._backends, *metrics.told_each_second):
            try:
                tell_news()
            except Exception:
                FAILURES.labels("metrics").inc()
                if (left_out := self._throttle.admit("metrics")) is not None:
                    log.exception("metrics stay as they were", pid=os.getpid(), left_out=left_out)

    def _worker(self) -> None:
        cpu_s, now_s = time.process_time(), time.monotonic()
        CPU.set((cpu_s - self._cpu_s) / max(now_s - self._at_s, 0.001))
        self._cpu_s, self._at_s = cpu_s, now_s
        MEMORY.set(self._process.memory_info().rss)
        IN_FLIGHT.set(in_flight(self.resources.stats))
        CONNECTIONS.set(lifecycle.connections)
        for status, total in dict(lifecycle.refused).items():
            tell(REFUSED.labels(str(status)), total)

    @staticmethod
    def _streams() -> None:
        for kind, count in dict(streams.open).items():
            STREAMS.labels(kind).set(count)
        for kind, total in dict(streams.opened).items():
            tell(STREAMS_OPENED.labels(kind), total)
        for reason, total in dict(streams.refused).items():
            tell(STREAMS_REFUSED.labels(reason), total)

    def _loop(self) -> None:
        watch, lane = self.resources.loop_watch, self.resources.lane
        TASKS.set(len(asyncio.all_tasks(self._event_loop)))
        STALL.set(max(0.0, time.perf_counter() - watch.watchdog.due_s))
        tell_histogram(LAG, watch.lag_buckets, watch.lag_sum_s)
        for cause, total in dict(watch.watchdog.incidents_total).items():
            tell(BLOCKED.labels(cause), total)
        LANE.labels("running").set(lane.running)
        LANE.labels("waiting").set(lane.waiting)
        tell(LANE_DONE, lane.done_total)
        tell(LANE_REJECTED, lane.rejected_total)

    def _backends(self) -> None:
        pg, breaker = self.resources.pg, self.resources.cache.breaker
        idle = pg.get_idle_size()
        POOL.labels("in use").set(pg.get_size() - idle)
        POOL.labels("idle").set(idle)
        POOL_MAX.set(pg.get_max_size())
        POOL_WAITING.set(metrics.postgres.waiting)
        POSTGRES_UP.set(metrics.postgres.up)
        BREAKER.set(breaker.is_open)
        tell(OPENED, breaker.opened_total)
