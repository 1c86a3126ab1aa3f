"""The sending side of a connection: what answers are written to, and how it closes without losing the last of them."""

import asyncio
import fcntl
import socket
import sys
import termios
from collections.abc import Callable
from enum import Enum, auto

LINGER_S = 2.0
"""How long a lingering close reads on after everything has been sent. The kernel would reset the connection, and drop
what the client has not yet read, if bytes arrived on a closed socket.
"""


UNHEARD_S = 40.0
"""Seconds without an acknowledgement after which a client that only listens is taken to be gone."""


class Sending(Enum):
    OPEN = auto()
    LINGERING = auto()
    """Nothing more is written. The connection closes when the client does, or `LINGER_S` after the last byte was sent."""
    CLOSING = auto()


class Output:
    """`close_connection` is called after an answer that ends its connection. A client that takes no byte for `patience_s`
    is disconnected.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        close_connection: Callable[[], None],
        patience_s: float,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._write = transport.write
        self._patience_s = patience_s
        self._state = Sending.OPEN
        self._timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0
        self.is_closing = transport.is_closing
        self.close = close_connection
        self.before: list[Callable[[], None]] = []
        """Called right before the next write, the last first. uvloop hands that to the kernel at once: a process that
        is killed has done both or neither, but for the microsecond between them.
        """

    def write(self, data: bytes) -> None:
        while self.before:
            self.before.pop()()
        self._write(data)

    def linger(self) -> None:
        """Send what is left, then end our side and wait for the client to end its own."""
        if self._state is not Sending.OPEN:
            return
        self._state = Sending.LINGERING
        self._transport.write_eof()
        self._transport.set_write_buffer_limits(0)  # tell us when everything has been sent, not when most of it has
        if self._transport.get_write_buffer_size():
            self.expect_reader()
        else:
            self.reader_took_all()

    def finish(self) -> None:
        """Send what is left, and close."""
        if self._state is Sending.CLOSING or self._transport.is_closing():
            return
        self._state = Sending.CLOSING
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self.expect_reader()

    def expect_reader(self) -> None:
        """Bytes wait for the client to take them."""
        if self._timer is None:
            self._unsent_bytes = _count_unsent(self._transport)
            self._timer = self._loop.call_later(self._patience_s, self._check_progress)

    def reader_took_all(self) -> None:
        """The client has taken enough of what waited, or all of it if the connection lingers."""
        self.cancel()
        if self._state is Sending.LINGERING:
            self._timer = self._loop.call_later(LINGER_S, self._transport.abort)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_progress(self) -> None:
        self._timer = None
        unsent_bytes = _count_unsent(self._transport)
        if unsent_bytes >= self._unsent_bytes:
            self._transport.abort()
        elif unsent_bytes:
            self.expect_reader()


def _count_unsent(transport: asyncio.Transport) -> int:
    """Count the bytes that the client has not acknowledged, in our buffer and in the kernel's.

    The kernel's alone has 4 MB, and accepts more of ours only when a third of it is free.
    """
    queued = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    return transport.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)


def end_when_unheard(transport: asyncio.Transport) -> None:
    """Have the kernel end the connection of a client that vanished (RFC 5482). By itself it takes a quarter of an hour."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    connection = transport.get_extra_info("socket")
    if option is not None and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, option, round(UNHEARD_S * 1000))
