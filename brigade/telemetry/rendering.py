"""How an event becomes a line: as JSON for machines, as text for people."""

import json
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import orjson
import structlog

OF_SEVERAL_LINES = {"event", "exception", "stack"}

Render = Callable[[MutableMapping[str, Any]], bytes]
"""Renders one event as a line, with its line end."""


def renderer(log_format: str) -> Render:
    """Choose how this process renders its events."""
    if log_format == "json":
        return as_json
    console = _Console(colors=_has_colors(), pad_event_to=0)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"

    def as_text(event: MutableMapping[str, Any]) -> bytes:
        line: str = console(None, event.get("level", "info"), event)
        return f"{line}\n".encode(encoding, "backslashreplace")

    return as_text


def _has_colors() -> bool:
    """Return whether standard output is a terminal that wants colors; https://no-color.org has the first rule."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout is not None and sys.stdout.isatty() and not plain


def as_json(event: Mapping[str, Any]) -> bytes:
    """Render one object in one line of ASCII, so that no reader of any encoding sees a line end or a control in it."""
    try:
        line = orjson.dumps(event, default=repr, option=orjson.OPT_APPEND_NEWLINE)
        if not line.isascii():
            line = json.dumps(orjson.loads(line)).encode() + b"\n"
    except orjson.JSONEncodeError:  # half a surrogate pair, a key that is no string, a number of more than 64 bits
        plain = json.loads(json.dumps(event, default=repr), parse_constant=str)  # NaN and Infinity are no JSON
        line = json.dumps(plain).encode() + b"\n"
    return line.replace(b"\x7f", rb"\u007f")


class _Console(structlog.dev.ConsoleRenderer):
    def __call__(self, logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
        """Escape control characters, because a terminal obeys them, and a path or the message of an exception may hold them."""
        for key, value in event.items():
            if isinstance(value, str) and not value.isprintable():
                several = key in OF_SEVERAL_LINES
                event[key] = printable(value, kept="\n\t") if several else value.encode("unicode_escape").decode()
        return super().__call__(logger, name, event)


def printable(text: str, *, kept: str = "\n") -> str:
    """Escape control characters, but for those that are `kept`, because a terminal obeys them."""
    return "".join(letter if letter.isprintable() or letter in kept else ascii(letter)[1:-1] for letter in text)
