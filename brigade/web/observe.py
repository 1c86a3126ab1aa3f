"""The outermost layer of the application: request id, worker name, access log and the worker's own counts.

It sees every answer, also those of hot routes and of errors nobody caught. Pure ASGI: one BaseHTTPMiddleware costs
55 % of the throughput, this about 2 %.
"""

import random
import re
import time
from collections.abc import Awaitable, Callable

import structlog
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brigade.cancellation import must_end
from brigade.headers import SECURITY_HEADERS, Header
from brigade.telemetry import metrics, under_way
from brigade.telemetry.access_log import PATH_SHOWN
from brigade.telemetry.logs import log_access, request_id
from brigade.telemetry.loop_watch.stacks import is_layer
from brigade.telemetry.metrics import WorkerStats
from brigade.telemetry.tracing import Kind, spent
from brigade.web.hot import ATTEMPT, Attempt, deliver
from brigade.web.probes import is_probe
from brigade.web.problems import problem_response, render

PRIVATE = (b"cache-control", b"private")
"""A shared cache keeps no answer to `Authorization` by itself (RFC 9111, 3.5), but it does not know `X-API-Key`."""

_WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch

log = structlog.get_logger("service.access")

is_layer(__file__)

Answer = Callable[[Response, Scope, Receive, Send], Awaitable[None]]
"""Sends the answer to an error that has come out of the application."""


def _answer_plainly(response: Response, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
    return response(scope, receive, send)


class Observe:
    def __init__(
        self,
        app: ASGIApp,
        *,
        stats: WorkerStats,
        worker: str | None,
        sample: float,
        answer_error: Answer = _answer_plainly,
    ) -> None:
        self.app = app
        self._answer_error = answer_error
        self.stats = stats
        self.sample = sample
        self._worker = [(b"x-worker", worker.encode())] if worker else []
        self._standing = [*self._worker, *SECURITY_HEADERS]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        attempt: Attempt | None = scope.get(ATTEMPT)
        started_s = attempt.began_s if attempt else time.perf_counter()
        status, route = 0, None
        identifier = identify(scope)
        request_id.set(identifier.decode())
        sums: dict[Kind, float] = {}
        spent.set(sums)

        def send_observed(message: Message) -> Awaitable[None]:
            nonlocal status, route
            if message["type"] == "http.response.body":
                return send(message)
            status, route = message["status"], self.stats.of_route(scope)
            headers = [*message.get("headers", ()), *self.headers(identifier, status)]
            if "key" in scope and not any(name.lower() == b"cache-control" for name, _ in headers):
                headers.append(PRIVATE)
            message["headers"] = headers
            return deliver(scope, send, message, route.counting(status))

        task = under_way.begin(scope, identifier)
        self.stats.in_flight += 1
        app = self.app if self.stats.trace is None else self.stats.trace(self.app)
        try:
            await app(scope, receive, send_observed)
        except BaseException as error:
            answer = _answer_to(error, scope)
            if status or answer is None:
                raise  # the head has gone out: only a cut connection tells the client the truth now
            await self._answer_error(answer, scope, receive, send_observed)
        finally:
            under_way.end(task)
            self.stats.in_flight -= 1
            self.stats.requests_total += 1
            duration_s = time.perf_counter() - started_s
            if route is not None:
                (metrics.held if "held" in scope else route.durations).add(duration_s)
            else:
                metrics.abandoned.total += 1
            if status >= 500 or "key" in scope or (self.samples(scope) and not is_probe(scope)):
                log_access(scope, identifier, status, duration_s, sums)

    def headers(self, identifier: bytes, status: int) -> list[Header]:
        """Return the headers of every answer. A redirect has nothing to sniff or to frame, and would pay 1.5 µs."""
        return [(b"x-request-id", identifier), *(self._worker if status == 307 else self._standing)]

    def samples(self, scope: Scope) -> bool:
        """Whether the request is to be logged: drawn once for each."""
        drawn: bool | None = scope.get("sampled")
        if drawn is None:
            drawn = scope["sampled"] = self.sample >= 1 or random.random() < self.sample  # noqa: S311
        return drawn


def _answer_to(error: BaseException, scope: Scope) -> Response | None:
    """None where the task has to end. `sys.exit()` in a handler is a failure like any other."""
    if must_end(error):
        return None
    if isinstance(error, HTTPException):  # a hot route's; what FastAPI's own routes raise has been answered
        return render(error)
    log.error("unhandled error", method=scope["method"], path=scope["path"][:PATH_SHOWN], exc_info=error)
    return problem_response(500, detail="The error has been logged under this request id.")


def identify(scope: Scope) -> bytes:
    """The id that the request came with, if it is well-formed, or a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _WELL_FORMED(value):
            return bytes(value)
    return b"%032x" % random.getrandbits(128)
