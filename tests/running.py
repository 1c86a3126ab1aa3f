"""Servers that stand still, and the running service of `brigade.testing`."""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from brigade.testing.running import RunningService

__all__ = ["RunningService", "stopped"]


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Every process of a server stands still: it neither answers nor refuses."""
    server = psutil.Process(pid)
    family = [server, *server.children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            process.resume()
