"""The memory that requests of a worker take: a thousand bodies of 1 MB whose rest never comes are a gigabyte."""

from brigade.server.refusals import Refused
from brigade.settings import Settings

SMALL_BYTES = 4096
"""This much of a request is always taken: most are smaller, and a thousand connections with 16 each take 64 MiB."""

SHARE = 4
"""Requests may take one part in four of `WORKER_MEMORY_MB`."""

COLLECTED_BYTES = 2**20
"""A body up to this size is collected before its request begins, so that a client that stalls takes no place in a lane
or a pool. Of a larger one the application is handed each part as it comes.
"""


class Memory:
    """The bytes that all requests of this process hold."""

    def __init__(self) -> None:
        self.held_bytes = 0


memory = Memory()


class Holder:
    """Something that holds bytes of a request, and says when it has released them."""

    held_bytes = 0

    def hold(self, count: int, most: int) -> None:
        """Count more bytes.

        Raises:
            Refused: this request is not small, and all requests together hold more than `most`.
        """
        self.held_bytes += count
        memory.held_bytes += count
        if self.held_bytes > SMALL_BYTES and memory.held_bytes > most:
            self.release()
            raise Refused(
                503, f"Other requests on their way have taken all of the {most} bytes that there are for them."
            )

    def release(self) -> None:
        memory.held_bytes -= self.held_bytes
        self.held_bytes = 0


def most_held(settings: Settings) -> int:
    """A quarter of the memory that is planned for a worker, and never less than one body that is collected."""
    return max(min(settings.max_body_bytes, COLLECTED_BYTES), settings.worker_memory_mb * 2**20 // SHARE)
