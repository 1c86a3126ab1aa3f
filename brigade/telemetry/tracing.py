"""The time that a request spends in each place: summed up for its log line, and as spans while OpenTelemetry is on.

FastAPI sets OpenTelemetry up, from the `OTEL_*` variables, and makes the spans of requests; this adds what it cannot see.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TypeVar

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from starlette.types import Scope

from brigade.telemetry import sampling

NONE: Mapping[str, str] = {}
CARRIERS = (b"traceparent", b"tracestate", b"baggage")
"""Headers that tell of the caller's span."""
Kind = Literal["queue", "lane", "postgres", "redis", "http"]

spent: ContextVar[dict[Kind, float] | None] = ContextVar("spent", default=None)
"""Seconds of the current request. Threads and tasks that work for it add to the same."""

T = TypeVar("T")

_EPOCH_NS = time.time_ns() - time.perf_counter_ns()
_tracer: trace.Tracer | None = None

READERS = (
    "opentelemetry.baggage.propagation",
    "opentelemetry.trace.propagation.tracecontext",
    "opentelemetry.trace.span",
)
"""Loggers that repeat what is wrong with CARRIERS: any client could fill the log, with kilobytes a request."""

FLUSH_S = 3.0
"""Seconds that a stop or a reload waits for a collector that does not answer."""

log = logging.getLogger(__name__)


def start() -> None:
    """Make spans from now on. Until then all of this costs next to nothing."""
    global _tracer  # noqa: PLW0603 - as are OpenTelemetry's providers
    for reader in READERS:
        logging.getLogger(reader).setLevel(logging.ERROR)
    sampling.install(trace.get_tracer_provider())
    _tracer = trace.get_tracer("service")


@asynccontextmanager
async def exported(*, on: bool) -> AsyncIterator[None]:
    """Make spans until the end, and then send what is left of them, for FLUSH_S at most."""
    if on:
        start()
    try:
        yield
    finally:
        if on:
            await _flush()


async def _flush() -> None:
    """OpenTelemetry's own flush has no bound: 2,048 spans take 40 s where the collector does not answer. `shutdown` sends the
    same spans, and makes every later flush return at once. Its thread is a daemon, so that no exit waits for it.
    """
    shutdown = getattr(trace.get_tracer_provider(), "shutdown", None)
    if shutdown is None:
        return
    thread = threading.Thread(target=shutdown, name="flush-spans", daemon=True)
    thread.start()
    deadline = time.monotonic() + FLUSH_S
    while thread.is_alive() and time.monotonic() < deadline:  # noqa: ASYNC110 - it is a thread
        await asyncio.sleep(0.02)
    if thread.is_alive():
        log.warning("The collector took no more spans within %g s: the last ones are lost.", FLUSH_S)


def note(
    kind: Kind, began_s: float, ended_s: float | None = None, *, span: str = "", attributes: Mapping[str, str] = NONE
) -> float:
    """The current request was here since `began_s`, by `time.perf_counter`. How long that was."""
    ended_s = ended_s or time.perf_counter()
    if (sums := spent.get()) is not None:
        sums[kind] = sums.get(kind, 0.0) + ended_s - began_s
    if span:
        _add_span(span, began_s, ended_s, attributes)
    return ended_s - began_s


def note_sql(query: Any) -> None:
    """Note a statement, as a query logger of asyncpg. Statements carry no values: ours are all parameters."""
    now_s = time.perf_counter()
    attributes = {"db.system.name": "postgresql", "db.query.text": query.query}
    if query.exception is not None:
        attributes["error.type"] = type(query.exception).__name__
    _add_span(f"sql {query.query.split(maxsplit=1)[0]}", now_s - query.elapsed, now_s, attributes)


def _add_span(name: str, began_s: float, ended_s: float, attributes: Mapping[str, str]) -> None:
    if _tracer is None or not trace.get_current_span().is_recording():
        return  # not sampled, or what the worker does by itself: that would be a trace a second
    span = _tracer.start_span(name, start_time=_EPOCH_NS + int(began_s * 1e9), attributes=attributes)
    span.end(_EPOCH_NS + int(ended_s * 1e9))


def is_on() -> bool:
    return _tracer is not None


def name_request(scope: Scope, route: str) -> None:
    """Name a request as FastAPI's router names those that it sees."""
    if _tracer is not None:
        span = trace.get_current_span()
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)


def not_drawn(scope: Scope) -> trace.Span | None:
    """The empty span of a request that is not traced. None says that it is, and that FastAPI is to make its spans."""
    span = begin_request(scope, "")
    if span is not None and not span.is_recording():
        return span
    sampling.is_traced.set(span is not None)
    return None


def begin_request(scope: Scope, route: str) -> trace.Span | None:
    """Begin the span of a request that has no task, as FastAPI does for the others."""
    if _tracer is None:
        return None
    carrier = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in CARRIERS}
    span = _tracer.start_span(
        f"{scope['method']} {route}".rstrip(),
        context=propagate.extract(carrier) if carrier else otel_context.Context(),
        kind=trace.SpanKind.SERVER,
        attributes={"http.request.method": scope["method"], "http.route": route, "url.path": scope["path"]},
    )
    if span.is_recording():
        span.set_attributes({"url.scheme": scope["scheme"], "network.protocol.version": scope["http_version"]})
    return span


def within(span: trace.Span, call: Callable[[Scope], T], scope: Scope) -> T:
    """Call `call`, for what it begins to belong to `span`."""
    if not span.is_recording():
        return call(scope)
    with trace.use_span(span, end_on_exit=False, record_exception=False):
        return call(scope)


def end_request(span: trace.Span, status: int, began_s: float, found_s: float) -> None:
    """End the span of a request that `began_s` and whose lookup was answered `found_s`."""
    if span.is_recording():
        with trace.use_span(span, end_on_exit=True, record_exception=False):
            _add_span("redis lookup", began_s, found_s, NONE)
            span.set_attribute("http.response.status_code", status)


def hand_over(span: trace.Span, scope: Scope) -> None:
    """Let a task continue the request's trace: FastAPI makes a span of its own, as a part of this one."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span))
    headers = [header for header in scope["headers"] if header[0].decode("latin-1") not in carrier]
    scope["headers"] = [*headers, *((name.encode(), value.encode("latin-1")) for name, value in carrier.items())]
    span.end()


def place_of(span: trace.Span | None = None) -> trace.SpanContext | None:
    """Return the trace and the span to which a line of the log belongs. The default is the current span."""
    if _tracer is None:
        return None
    context = (span or trace.get_current_span()).get_span_context()
    return context if context.is_valid else None


def add_ids(event: MutableMapping[str, Any], place: trace.SpanContext | None) -> None:
    if place is not None:
        event["trace_id"] = trace.format_trace_id(place.trace_id)
        event["span_id"] = trace.format_span_id(place.span_id)


def carried() -> dict[str, str]:
    """The current span, from which another process continues by `resume`."""
    carrier: dict[str, str] = {}
    if _tracer is not None:
        propagate.inject(carrier)
    return carrier


@contextmanager
def calling(method: str, host: str) -> Iterator[dict[str, str]]:
    """Make the span of a call to another service. The headers it yields continue the trace there."""
    if _tracer is None or not trace.get_current_span().get_span_context().is_valid:
        yield {}
        return
    attributes = {"http.request.method": method, "server.address": host}
    with _tracer.start_as_current_span(f"{method} {host}", kind=trace.SpanKind.CLIENT, attributes=attributes):
        yield carried()


def resume(carrier: dict[str, str]) -> None:
    """Continue a request's trace in the lane's process. It runs one job at a time, and must not use the trace before."""
    otel_context.attach(propagate.extract(carrier))


@contextmanager
def continued(carrier: Mapping[str, str], name: str) -> Iterator[None]:
    """Make a span of a job that belongs to the trace of the request that enqueued it, as `carried` has told."""
    if _tracer is None:
        yield
        return
    context = propagate.extract(carrier) if carrier else otel_context.Context()
    with _tracer.start_as_current_span(name, context=context, kind=trace.SpanKind.CONSUMER):
        yield
