"""One line an event, on stdout, as JSON or as text for people; written by a thread, so that a slow pipe stops no loop.

Gunicorn's, uvicorn's and the libraries' lines take the same way.
"""

import logging
import os
import queue
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from logging.handlers import QueueHandler, QueueListener
from typing import Any

import structlog
from gunicorn.glogging import Logger

from service import tracing
from service.settings import Settings, load_settings

request_id: ContextVar[str] = ContextVar("request_id", default="-")

QUEUE_LINES = 10_000
"""About 5 MB of lines; when the reader of stdout stalls for longer, lines are dropped and counted, not requests."""


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
        return [remove, structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0)]
    return [remove, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _add_request(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["pid"] = os.getpid()
    if (identifier := request_id.get()) != "-":
        event["request_id"] = identifier
    tracing.add_ids(event)
    return event


class _BoundedHandler(QueueHandler):
    queue: "queue.SimpleQueue[logging.LogRecord]"
    dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # rendered by the writing thread

    def enqueue(self, record: logging.LogRecord) -> None:
        if self.queue.qsize() >= QUEUE_LINES:
            self.dropped += 1
            return
        if self.dropped:
            record.dropped_lines, self.dropped = self.dropped, 0
        self.queue.put_nowait(record)


@contextmanager
def written_by_thread() -> Iterator[None]:
    """From here on a thread of this process writes the lines. Enter after the fork."""
    root = logging.getLogger()
    direct = root.handlers
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    listener = QueueListener(lines, *direct)
    root.handlers = [_BoundedHandler(lines)]
    listener.start()
    try:
        yield
    finally:
        root.handlers = direct
        listener.stop()


class GunicornLogger(Logger):
    """Gunicorn's lines go the way of all others. It sets up logging in the master, once more at each reload."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        configure(load_settings())
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.access_log.disabled = True
