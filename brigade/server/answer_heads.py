"""The head of an answer as bytes, and which heads uvicorn need not look at."""

from collections.abc import Iterable, Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from brigade.headers import Header

PLAIN_NAME = b"abcdefghijklmnopqrstuvwxyz0123456789-"
"""The characters of the names that are sent as they are. uvicorn writes other names in lower case, or refuses them."""

CLOSE = (b"connection", b"close")

CONTROLS = bytes({*range(0x20), 0x7F} - {0x09})
"""Bytes that no value of a header may have (RFC 9110, 5.5)."""


_as_line = b"%s: %s\r\n".__mod__


def as_lines(headers: Iterable[Header]) -> bytes:
    return b"".join(map(_as_line, headers)) + b"\r\n"


def as_head(status: int, headers: Sequence[Header]) -> bytes:
    """
    Raises:
        RuntimeError: A value has a control character, of which a line break would begin another header.
    """
    head = STATUS_LINE[status] + b"".join(map(_as_line, headers)) + b"\r\n"
    if len(head) - len(head.translate(None, CONTROLS)) != 2 * (len(headers) + 2):
        raise RuntimeError("A header of the answer has a control character.")
    return head


def has_length(message: Any) -> bool:
    """Whether a message is the head of an answer whose body has a known length, and in which uvicorn need not look."""
    if message["type"] != "http.response.start":
        return False
    names = [name for name, _ in message.get("headers", ())]
    return (
        b"content-length" in names
        and b"connection" not in names
        and b"transfer-encoding" not in names
        and not b"".join(names).translate(None, PLAIN_NAME)
    )
