"""What all requests that a worker receives may take of its memory: a thousand bodies of 1 MB that never end are a gigabyte."""

from collections.abc import Iterable
from typing import Any

from brigade.server.refusals import Header, Refused
from brigade.settings import Settings

SMALL_BYTES = 4096
"""As much of a request is always taken: most are smaller, and a thousand connections with 16 each are 64 MiB."""
SHARE = 4

HELD = "service.received"


class Held:
    """The bytes of one request: in its scope, so that they count for as long as anybody can have them."""

    __slots__ = ("bytes",)
    of_all = 0

    def __init__(self) -> None:
        self.bytes = 0

    def add(self, count: int) -> None:
        self.bytes += count
        Held.of_all += count

    def __del__(self) -> None:
        type(self).of_all -= self.bytes  # at the end of the process, the module's own names have gone before it


def most_held(settings: Settings) -> int:
    """A quarter of what is planned for a worker, and at any rate one body."""
    return max(settings.max_body_bytes, settings.worker_memory_mb * 2**20 // SHARE)


def declared_bytes(headers: Iterable[Header]) -> int:
    """Of the body, by its Content-Length; 0 without one."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)  # the parser has refused anything but digits
    return 0


def hold(scope: Any, count: int, most: int) -> None:
    """Note that so many bytes of the request have come.

    Raises:
        Refused: it is not small, and all requests together have more than `most`.
    """
    held: Held = scope.setdefault(HELD, Held())
    held.add(count)
    if held.bytes > SMALL_BYTES and Held.of_all > most:
        held.add(-held.bytes)  # it is let go of in the next turn; those that come before need not be refused as well
        raise Refused(503, f"Other requests on their way have taken all of the {most} bytes that there are for them.")
