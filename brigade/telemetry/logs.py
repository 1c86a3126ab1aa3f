"""One line an event, on stdout, as JSON or as text for people; written by a thread, so that a slow pipe stops no loop.

Gunicorn's, uvicorn's and the libraries' lines take the same way.
"""

import logging
import os
import queue
import select
import sys
import threading
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import structlog
from gunicorn.glogging import Logger

from brigade.settings import Settings, load_settings
from brigade.telemetry import tracing

request_id: ContextVar[str] = ContextVar("request_id", default="-")

QUEUE_LINES = 10_000
"""About 5 MB of lines; when the reader of stdout stalls for longer, lines are dropped and counted, not requests."""

access_logger = logging.getLogger("service.access")
access = structlog.get_logger(access_logger.name)

OF_SEVERAL_LINES = {"event", "exception", "stack"}

GATHER_S = 0.02
"""How late a line may be."""


def configure(settings: Settings) -> None:
    """Set up logging of this process; lines are written where they are made, until `written_by_thread`."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_renderers(settings)))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    uvicorn = logging.getLogger("uvicorn.error")
    uvicorn.setLevel(max(root.level, logging.WARNING))
    uvicorn.propagate = True  # its worker class hands it Gunicorn's handlers instead


def _renderers(settings: Settings) -> list[Any]:
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if settings.log_format == "console":
        colors = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        return [remove, _Console(colors=colors, pad_event_to=0)]
    return [remove, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


class _Console(structlog.dev.ConsoleRenderer):
    def __call__(self, logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
        """A terminal does what control characters say, and a path may hold them."""
        for key, value in event.items():
            if isinstance(value, str) and not value.isprintable() and key not in OF_SEVERAL_LINES:
                event[key] = value.encode("unicode_escape").decode()
        return super().__call__(logger, name, event)


def _add_request(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["pid"] = os.getpid()
    if (identifier := request_id.get()) != "-":
        event["request_id"] = identifier
    tracing.add_ids(event)
    return event


class _Threaded(logging.Handler):
    """Has a thread render and write. One that is woken for each line takes the GIL from the loop as often; this one sleeps
    while they gather.
    """

    def __init__(self, direct: "logging.StreamHandler[Any]") -> None:
        super().__init__()
        self.setFormatter(direct.formatter)
        assert isinstance(direct.formatter, structlog.stdlib.ProcessorFormatter)
        self._render = direct.formatter.processors[-1]
        self._stream = direct.stream
        self._lines: queue.SimpleQueue[logging.LogRecord | dict[str, Any] | None] = queue.SimpleQueue()
        self._dropped = 0
        self._gathered = ""
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._lines.put(None)
        self._thread.join()

    def emit(self, record: logging.LogRecord) -> None:
        self.put(record)

    def put(self, line: logging.LogRecord | dict[str, Any]) -> None:
        """A dict is the short way for the one line that every request has: 15 µs, where a log record takes 75."""
        if self._lines.qsize() >= QUEUE_LINES:
            self._dropped += 1
            return
        if self._dropped:
            lines, self._dropped = self._dropped, 0
            self._lines.put(_line("warning", "log lines dropped", lines=lines))
        self._lines.put(line)

    def _write_all(self) -> None:
        while True:
            if idle := self._lines.empty():
                self._write()
            line = self._lines.get()
            if line is None:
                break
            if idle:
                time.sleep(GATHER_S)
            text = self._as_text(line)
            if len(self._gathered) + len(text) > select.PIPE_BUF:  # what a pipe takes undivided: others write to it too
                self._write()
            self._gathered += text
        self._write()

    def _as_text(self, line: logging.LogRecord | dict[str, Any]) -> str:
        if isinstance(line, logging.LogRecord):
            return self.format(line) + "\n"
        line["timestamp"] = datetime.fromtimestamp(line["timestamp"], UTC).isoformat().replace("+00:00", "Z")
        return str(self._render(None, "info", line)) + "\n"

    def _write(self) -> None:
        self._stream.write(self._gathered)
        self._stream.flush()
        self._gathered = ""


def log_access(event: dict[str, Any]) -> None:
    handler = logging.getLogger().handlers[0]
    if not isinstance(handler, _Threaded):
        access.info("request", **event)
    elif access_logger.isEnabledFor(logging.INFO):
        handler.put(_line("info", "request", **event))


def _line(level: str, name: str, **values: Any) -> dict[str, Any]:
    line = {"event": name, "level": level, "logger": access_logger.name, "timestamp": time.time()}
    return dict(_add_request(None, "", line | values))


@contextmanager
def written_by_thread() -> Iterator[None]:
    """From here on a thread of this process writes the lines that `configure` sent to stdout. Enter after the fork."""
    root = logging.getLogger()
    direct = root.handlers
    ours = [handler for handler in direct if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter)]
    if not ours:
        yield
        return
    threaded = _Threaded(ours[0])  # type: ignore[arg-type]
    root.handlers = [threaded]
    threaded.start()
    try:
        yield
    finally:
        root.handlers = direct
        threaded.stop()


class GunicornLogger(Logger):  # type: ignore[misc]
    """Gunicorn's lines go the way of all others. It sets up logging in the master, once more at each reload."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        configure(load_settings())
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.access_log.disabled = True
