"""A port for operators. Threads answer `/metrics` there, also while the event loop is blocked, and hand any other
connection to the loop. They know nothing of the application.
"""

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence

from brigade.telemetry.scrape import CONTENT_TYPE, scrape

LOOK_EVERY_S = 0.5
PATIENCE_S = 1.0
"""Seconds for a client to send its first bytes, and for the rest. A slower one goes to the loop and its deadlines."""
MOST_CLIENTS = 32
"""Clients that are given this patience at the same time. One more goes to the loop at once."""

log = logging.getLogger("gunicorn.error")

ANSWER = "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n"


class OpsPort:
    def __init__(self, hand_over: Callable[[socket.socket], None]) -> None:
        """`hand_over` is called in a thread, with a connection of which nothing has been read."""
        self.listeners: Sequence[socket.socket] = ()
        self._hand_over = hand_over
        self._stopped = threading.Event()
        self._places = threading.BoundedSemaphore(MOST_CLIENTS)
        self._scraping = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="ops-port", daemon=True)

    def start(self) -> None:
        if self.listeners:
            self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def _serve(self) -> None:
        while not self._stopped.is_set():
            for listener in select.select(self.listeners, [], [], LOOK_EVERY_S)[0]:
                try:
                    self._receive(listener.accept()[0])
                except OSError:  # another worker had it first, or the client has gone
                    continue
                except Exception:  # the next client may have more luck
                    log.exception("A client of OPS_PORT was not answered.")

    def _receive(self, connection: socket.socket) -> None:
        """Wait for its first bytes in a thread of its own, because a browser opens connections in reserve that say nothing."""
        if not self._places.acquire(blocking=False):
            self._pass_on(connection)
            return
        try:
            threading.Thread(target=self._attend, args=(connection,), name="ops-client", daemon=True).start()
        except RuntimeError:  # no room for a thread
            self._places.release()
            self._pass_on(connection)

    def _attend(self, connection: socket.socket) -> None:
        try:
            self._answer(connection)
        except OSError:  # the client has gone
            pass
        except Exception:
            log.exception("A client of OPS_PORT was not answered.")
        finally:
            self._places.release()

    def _pass_on(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            self._hand_over(connection)
        except RuntimeError:  # the loop has ended meanwhile
            connection.close()

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        head = b""
        with contextlib.suppress(TimeoutError):
            head = connection.recv(16, socket.MSG_PEEK)
        if not head.startswith((b"GET /metrics ", b"GET /metrics?")):
            self._pass_on(connection)
            return
        with connection:
            deadline_s = time.monotonic() + PATIENCE_S
            while not head.endswith(b"\r\n\r\n"):
                more = connection.recv(65536)
                if not more or time.monotonic() > deadline_s:
                    return
                head = head[-3:] + more
            with self._scraping:
                body = scrape()
            connection.sendall(ANSWER.format(CONTENT_TYPE, len(body)).encode() + body)
