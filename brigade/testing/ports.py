"""Ports for the servers of tests, drawn as `local.process` does, which the wheel has not: neither takes the other's."""

import secrets
import socket
from collections.abc import Iterator
from contextlib import suppress


def _draw_ports() -> Iterator[int]:
    """Ports below those that the kernel gives to outgoing connections, by the hundred.

    A process that draws from a hundred holds its first port as long as it lives, so that no other process draws from it.
    """
    while True:
        first = 20_000 + 100 * secrets.randbelow(120)
        with socket.socket() as holder, suppress(OSError):
            holder.bind(("127.0.0.1", first))
            holder.detach()
            yield from range(first + 1, first + 100)


_ports = _draw_ports()


def free_port() -> int:
    """A port that stays this process's own while nothing listens there, as between a stop and a start."""
    for port in _ports:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("Ports are drawn without end.")
