"""The outermost layer of the application: request id, worker name, access log and the worker's own counts.

It sees every answer, also those of hot routes and of errors nobody caught. Pure ASGI: one BaseHTTPMiddleware costs
55 % of the throughput, this about 2 %.
"""

import random
import re
import time
from collections.abc import Awaitable, Iterable, MutableMapping
from types import FrameType
from typing import Any, NamedTuple

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import metrics
from service.errors import problem_response, render
from service.hot import deliver
from service.logs import log_access, request_id
from service.metrics import WorkerStats
from service.refusals import SECURITY_HEADERS
from service.tracing import Kind, spent

_WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch
BY_MACHINES = ("/livez", "/readyz", "/metrics", "/workers")
"""Asked for every few seconds by machines; an error among them is logged like any other."""

PATH_SHOWN = 300
"""Characters. Of 32 kB, lines would tear one another in the pipe that the workers share, and 10,000 that wait take 300 MB."""

log = structlog.get_logger("service.access")


class Request(NamedTuple):
    method: str
    path: str
    id: str


class Observe:
    def __init__(self, app: ASGIApp, *, stats: WorkerStats, worker: str | None, sample: float) -> None:
        self.app = app
        self.stats = stats
        self.sample = sample
        self.headers = [(b"x-worker", worker.encode())] if worker else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started_s = time.perf_counter()
        status, route = 0, None
        identifier = _given_id(scope) or b"%032x" % random.getrandbits(128)
        request_id.set(identifier.decode())
        sums: dict[Kind, float] = {}
        spent.set(sums)
        headers = [(b"x-request-id", identifier), *self.headers]

        def send_observed(message: Message) -> Awaitable[None]:
            nonlocal status, route
            if message["type"] == "http.response.body":
                return send(message)
            status, route = message["status"], self.stats.of_route(scope)
            message["headers"] = [*message.get("headers", ()), *headers, *_standing(status)]
            return deliver(scope, send, message, route.counting(status))

        self.stats.in_flight += 1
        app = self.app if self.stats.trace is None else self.stats.trace(self.app)
        try:
            await app(scope, receive, send_observed)
        except HTTPException as problem:  # a hot route's; what FastAPI's own routes raise has been answered
            if status:
                raise
            await render(problem)(scope, receive, send_observed)
        except Exception:
            log.exception("unhandled error", method=scope["method"], path=scope["path"])
            if status:
                raise  # the head has gone out: only a cut connection tells the client the truth now
            await problem_response(500, detail="The error has been logged under this request id.")(
                scope, receive, send_observed
            )
        finally:
            self.stats.in_flight -= 1
            self.stats.requests_total += 1
            duration_s = time.perf_counter() - started_s
            if route is not None:
                route.durations.add(duration_s)
            else:
                metrics.abandoned.total += 1
            if status >= 500 or "key" in scope or (random.random() < self.sample and scope["path"] not in BY_MACHINES):  # noqa: S311
                self._log(scope, status, duration_s, dict(sums))

    @staticmethod
    def _log(scope: Scope, status: int, duration_s: float, sums: dict[Kind, float]) -> None:
        client = scope["client"]
        log_access(
            {
                "method": scope["method"],
                "path": scope["path"][:PATH_SHOWN],
                "route": getattr(scope.get("route"), "path", None),
                "status": status or 499,  # no answer: the client went away first
                "duration_ms": _ms(duration_s),
                "loop_ms": _ms(max(0.0, duration_s - sum(sums.values()))),
                **{f"{kind}_ms": _ms(seconds) for kind, seconds in sums.items()},
                "client": client[0] if client else None,
                **({"key": scope["key"]} if "key" in scope else {}),
            }
        )


def _standing(status: int) -> Iterable[tuple[bytes, bytes]]:
    """A redirect has nothing to sniff or to frame, and would pay 1.5 µs."""
    return () if status == 307 else SECURITY_HEADERS


def is_by_machine(scope: MutableMapping[str, Any]) -> bool:
    return scope.get("path") in BY_MACHINES


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


def _given_id(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return value if _WELL_FORMED(value) else None
    return None


def request_on(frame: FrameType) -> Request | None:
    """The request, if `frame` is this layer at work on one. Read from outside, so that no request pays for it."""
    if frame.f_code is not Observe.__call__.__code__ or "identifier" not in frame.f_locals:
        return None
    scope = frame.f_locals["scope"]
    return Request(scope["method"], scope["path"], frame.f_locals["identifier"].decode())
