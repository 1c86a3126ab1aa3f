"""One line an event, on stdout, as JSON or as text for people. Gunicorn's, uvicorn's and the libraries' lines too.

Rendered where the event happens, and written by a thread, so that a slow reader stops no loop.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import structlog
from gunicorn.glogging import Logger
from opentelemetry.trace import Span

from brigade.settings import Settings, load_settings
from brigade.telemetry import tracing
from brigade.telemetry.access_log import LOGGER, AccessLog
from brigade.telemetry.log_writer import STDERR, STDOUT, LogWriter
from brigade.telemetry.rendering import renderer
from brigade.telemetry.strays import log_strays

request_id: ContextVar[str] = ContextVar("request_id", default="-")

access_logger = logging.getLogger(LOGGER)


class Handler(logging.Handler):
    """Renders records and gives them to the writer of this process."""

    def __init__(self, log_format: str, descriptor: int = STDOUT) -> None:
        super().__init__()
        self.log_format = log_format
        self.render = renderer(log_format)
        self.writer = LogWriter(self.describe, descriptor)
        self.access = AccessLog(self.writer.put, self.render, for_people=log_format == "console")

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._as_line(record)
        except Exception as error:  # noqa: BLE001 - a bad log call must cost neither the request nor the lines after it
            line = self._as_defect(record, error)
        self.writer.put(line)

    def _as_line(self, record: logging.LogRecord) -> bytes:
        if isinstance(record.msg, dict) and hasattr(record, "_logger"):  # structlog's, which is ready
            event = dict(record.msg)
        else:
            event = {"event": record.getMessage(), "level": record.levelname.lower(), "logger": record.name}
            if record.exc_info:
                event["exc_info"] = record.exc_info
            if record.stack_info:
                event["stack"] = record.stack_info
            _add_context(None, "", event)
            _format_exception(None, "", event)
        return self.render(event)

    def _as_defect(self, record: logging.LogRecord, error: Exception) -> bytes:
        return self.describe(
            "error",
            "log call cannot be rendered",
            error=str(error),
            by=record.name,
            message=_safe_repr(record.msg),
            values=_safe_repr(record.args),
            file=record.pathname,
            line=record.lineno,
        )

    def describe(self, level: str, name: str, **values: Any) -> bytes:
        """Render an event of the log itself."""
        event = {"event": name, "level": level, "logger": __name__, "timestamp": _now(), "pid": os.getpid()}
        return self.render(event | values)


_installed: Handler | None = None
"""The handler that `configure` has made for this process."""


def configure(settings: Settings) -> None:
    """Set up logging of this process. Lines are written where they are made, until `written_by_thread`."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            _add_context,
            _format_exception,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    global _installed  # noqa: PLW0603 - as are the handlers of logging
    _installed = Handler(settings.log_format)
    root = logging.getLogger()
    root.handlers = [_installed]
    root.setLevel(settings.log_level.upper())
    uvicorn = logging.getLogger("uvicorn.error")
    uvicorn.setLevel(max(root.level, logging.WARNING))
    uvicorn.propagate = True  # its worker class hands it Gunicorn's handlers instead


def _add_context(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["timestamp"] = _now()
    event["pid"] = os.getpid()
    if (identifier := request_id.get()) != "-":
        event["request_id"] = identifier
    tracing.add_ids(event, tracing.place_of())
    return event


def _format_exception(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Render the traceback. One that cannot be rendered must not cost the request, for which it is logged, its answer."""
    try:
        return structlog.processors.format_exc_info(logger, name, event)
    except Exception as error:  # noqa: BLE001 - what an exception's class says of itself
        event["exception"] = f"The traceback cannot be rendered: {type(error).__name__}."
        return event


def _now() -> str:
    now_s = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_s)) + f".{int(now_s % 1 * 1e6):06d}Z"


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not why a line is lost
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"


def log_access(  # noqa: PLR0913 - an object that holds them would cost as much as to render them
    scope: Mapping[str, Any],
    identifier: bytes,
    status: int,
    duration_s: float,
    spent: Mapping[tracing.Kind, float],
    *,
    span: Span | None = None,
) -> None:
    """Write the line of one request that has been answered, or whose client has gone. The default is the current span."""
    if _installed is not None and access_logger.isEnabledFor(logging.INFO):
        access, place = _installed.access, tracing.place_of(span)
        if not access.write_plain(scope, identifier, status, duration_s, spent, place):
            access.write(access.line(scope, identifier, status, duration_s, spent, place))


def lines_dropped() -> int:
    """How many lines of this process nobody took."""
    return _installed.writer.dropped_total if _installed else 0


@contextmanager
def written_by_thread() -> Iterator[None]:
    """Write this process's lines from a thread from here on. Enter after the fork."""
    if (handler := _installed) is None:
        yield
        return
    handler.writer.start()
    try:
        yield
    finally:
        handler.writer.stop()


def write_on_stderr(level: str, name: str, **values: Any) -> bool:
    """Write a line for machines to stderr. False if this process has no log, or one for people."""
    if _installed is None or _installed.log_format != "json":
        return False
    with suppress(OSError):  # it may be full, or without a reader
        os.write(STDERR, _installed.describe(level, name, **values))
    return True


class GunicornLogger(Logger):  # type: ignore[misc]
    """Gunicorn's lines go the way of all others. It sets up logging in the master, and again at each reload."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        configure(load_settings())
        log_strays()
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.access_log.disabled = True
