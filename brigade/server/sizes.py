"""How large the parts of a request may be: its head, its body, its chunks and its trailers."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from brigade.headers import Header
from brigade.server.heads import check_header_count
from brigade.server.memory import Holder, most_held
from brigade.server.refusals import Refused
from brigade.settings import Settings

SLICE_BYTES = 16_384
"""Parse at most this much of a read, which may have 256 kB, before looking at the sizes: a thousand clients that sent
nothing but headers held the loop for 4 s.
"""

MAX_PIPELINED = 16
"""Requests that may wait behind the one being answered. One read holds 8,000 of the shortest, and each takes 2 kB."""

CHUNK_OVERHEAD = 6
"""A body sent in chunks of one byte takes six bytes for each: `1`, two line ends and itself."""

MAX_CHUNKS, CHUNK_BYTES = 1000, 32
"""Chunks that every body may have, and bytes that further ones must have on average: 200 bodies of 1 MiB in chunks of
one byte held the loop for more than ten seconds.
"""

MAX_TRAILERS = 100
"""Trailers in one slice, at most. A body of 1 MiB has room for a million, which held the loop for more than a second."""


class DiscardedTrailers(deque[object]):
    """Takes trailers in place of a list of headers. They are not headers, and a client could send them without end."""

    left = MAX_TRAILERS

    def append(self, _: object) -> None:
        self.left -= 1
        if self.left < 0:
            raise Refused(431, f"A request may have {MAX_TRAILERS} trailers at most.")


DISCARDED: Any = DiscardedTrailers(maxlen=0)


class Sizes(Holder):
    """Counts the bytes of the request that one connection is sending."""

    def __init__(self, settings: Settings) -> None:
        self.most_held = most_held(settings)
        self._max_head_bytes = settings.max_header_bytes
        self._max_body_bytes = settings.max_body_bytes
        self._max_wire_bytes = settings.max_header_bytes + CHUNK_OVERHEAD * settings.max_body_bytes
        self._slice_bytes = self._own_bytes = 0
        self._head_bytes = self._body_bytes = 0
        self._chunks_left = float(MAX_CHUNKS)

    def begin_slice(self, count: int) -> None:
        self._slice_bytes = self._own_bytes = count
        DISCARDED.left = MAX_TRAILERS

    def end_message(self) -> None:
        """End a message. The rest of the slice may belong to the next request, which is not charged for this one's bytes."""
        self._own_bytes = self._head_bytes = 0

    def add_to_head(self, url: bytes, headers: Sequence[Header]) -> None:
        """The slice has ended inside a head."""
        self._head_bytes += self._own_bytes
        self._check_head_size(self._head_bytes, url)
        check_header_count(headers)
        self.hold(self._own_bytes, self.most_held)

    def end_head(self, url: bytes, headers: Sequence[Header]) -> None:
        """Only a head that a slice may not have room for is measured."""
        if self._head_bytes or self._slice_bytes > self._max_head_bytes:
            self._check_head_size(len(url) + sum(len(name) + len(value) for name, value in headers), url)
        if self.held_bytes:
            self.release()
        self._body_bytes, self._chunks_left = 0, MAX_CHUNKS

    def add_to_body(self) -> None:
        """The slice has ended inside a body."""
        self._body_bytes += self._own_bytes
        if self._body_bytes > self._max_wire_bytes:
            raise Refused(413, f"A body may have {self._max_body_bytes} bytes at most.")

    def add_chunk(self, count: int) -> None:
        self._chunks_left += count / CHUNK_BYTES - 1
        if self._chunks_left < 0:
            raise Refused(
                400, f"The chunks of a body have {CHUNK_BYTES} bytes or more, but for the first {MAX_CHUNKS}."
            )

    def _check_head_size(self, count: int, url: bytes) -> None:
        """Name the part that is too long: RFC 9112, 3, has a status of its own for the target."""
        if count > self._max_head_bytes:
            status = 414 if 2 * len(url) > count else 431
            raise Refused(status, f"The head of a request may have {self._max_head_bytes} bytes at most.")
