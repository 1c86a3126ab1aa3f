"""Tells systemd, or whatever set NOTIFY_SOCKET, how far the service is: sd_notify(3)."""

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress

VARIABLE = "NOTIFY_SOCKET"


class ServiceManager:
    """Takes the variable away from Gunicorn, which would send READY=1 before there is a worker."""

    def __init__(self) -> None:
        self._address = os.environ.pop(VARIABLE, "")
        self._awaits_ready = True

    def hand_down(self, environment: MutableMapping[str, str]) -> None:
        """Pass the address to the master that SIGUSR2 starts."""
        if self._address:
            environment[VARIABLE] = self._address

    def ready(self) -> None:
        """Every worker serves, after a start or a reload."""
        if self._awaits_ready:
            self._send("READY=1")
        self._awaits_ready = False

    def reloading(self) -> None:
        if not self._awaits_ready:
            self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        self._awaits_ready = True

    def stopping(self) -> None:
        self._awaits_ready = False
        self._send("STOPPING=1")

    def handed_over(self, pid: int) -> None:
        """The master `pid`, if it is one, serves in our place."""
        self._awaits_ready = False
        if pid:
            self._send(f"MAINPID={pid}")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        path = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_manager:
            to_manager.setblocking(False)
            to_manager.sendto(state.encode(), path)
