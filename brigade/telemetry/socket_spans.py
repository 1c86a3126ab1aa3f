"""The span of a WebSocket. FastAPI's own says neither how the socket ended, nor that a client that leaves is no error."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from starlette.types import Scope

from brigade.telemetry import tracing

INTERNAL_ERROR = 1011


@contextmanager
def traced(scope: Scope) -> Iterator[None]:
    """Make the span from the handshake to the end of the socket, if it is drawn."""
    span = tracing.begin_request({**scope, "method": "GET"}, "")
    if span is None:
        yield
        return
    with trace.use_span(span, end_on_exit=True, record_exception=False):
        yield


def ended(route: str, status: int, code: int | None) -> None:
    """Note the end of the socket whose span this is."""
    span = trace.get_current_span()
    if not span.is_recording():
        return
    span.update_name(f"WS {route}".rstrip())
    span.set_attributes({"http.route": route, "http.response.status_code": status})
    if code is not None:
        span.set_attribute("websocket.close_code", code)
    if code == INTERNAL_ERROR or status >= 500:
        span.set_status(trace.StatusCode.ERROR)
