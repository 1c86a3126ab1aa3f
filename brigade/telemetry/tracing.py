"""Where a request's time goes: summed up for its log line, and as spans while OpenTelemetry is on.

FastAPI sets OpenTelemetry up, from the `OTEL_*` variables, and makes the spans of requests; this adds what it cannot see.
"""

import time
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, Literal

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from starlette.types import Scope

NONE: Mapping[str, str] = {}
Kind = Literal["queue", "lane", "postgres", "redis"]

spent: ContextVar[dict[Kind, float] | None] = ContextVar("spent", default=None)
"""Seconds of the current request. Threads and tasks that work for it add to the same."""

_EPOCH_NS = time.time_ns() - time.perf_counter_ns()
_tracer: trace.Tracer | None = None


def start() -> None:
    """From now on there are spans. Until then all of this costs next to nothing."""
    global _tracer  # noqa: PLW0603 - as are OpenTelemetry's providers
    _tracer = trace.get_tracer("service")


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
    """For asyncpg's query loggers. Statements carry no values: ours are all parameters."""
    now_s = time.perf_counter()
    attributes = {"db.system.name": "postgresql", "db.query.text": query.query}
    if query.exception is not None:
        attributes["error.type"] = type(query.exception).__name__
    _add_span(f"sql {query.query.split(maxsplit=1)[0]}", now_s - query.elapsed, now_s, attributes)


def _add_span(name: str, began_s: float, ended_s: float, attributes: Mapping[str, str]) -> None:
    if _tracer is None or not trace.get_current_span().is_recording():
        return  # not sampled, or what the worker does of its own accord: that would be a trace a second
    span = _tracer.start_span(name, start_time=_EPOCH_NS + int(began_s * 1e9), attributes=attributes)
    span.end(_EPOCH_NS + int(ended_s * 1e9))


def is_on() -> bool:
    return _tracer is not None


def name_request(scope: Scope, route: str) -> None:
    """As FastAPI's router names the requests that it sees."""
    if _tracer is not None:
        span = trace.get_current_span()
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)


def add_ids(event: MutableMapping[str, Any]) -> None:
    if _tracer is not None and (context := trace.get_current_span().get_span_context()).is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)


def carried() -> dict[str, str]:
    """The current span, for another process to go on from by `resume`."""
    carrier: dict[str, str] = {}
    if _tracer is not None:
        propagate.inject(carrier)
    return carrier


def resume(carrier: dict[str, str]) -> None:
    """In the lane's process, which runs one job at a time, and must not take it for one of the request before."""
    otel_context.attach(propagate.extract(carrier))
