"""A way to a real Redis on which every command can be given the same error: answers that a server cannot be made to give."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer

import hiredis

HANDSHAKE = {b"AUTH", b"HELLO", b"CLIENT", b"SELECT"}


class _Way(BaseRequestHandler):
    server: "RefusingRedis"

    def handle(self) -> None:
        self.server.clients.add(self.request)
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.server.behind)) as upstream:
            threading.Thread(target=self._bring_back, args=(upstream,), daemon=True).start()
            commands = hiredis.Reader()
            while data := self.request.recv(65536):
                commands.feed(data)
                while (command := commands.gets()) is not False:
                    if self.server.error and command[0].upper() not in HANDSHAKE:
                        self.request.sendall(b"-%s\r\n" % self.server.error.encode())
                    else:
                        upstream.sendall(hiredis.pack_command(tuple(command)))

    def _bring_back(self, upstream: socket.socket) -> None:
        """Bring the answers, and the end: a connection that Redis has closed must not look open to the client."""
        with suppress(OSError):
            while data := upstream.recv(65536):
                self.request.sendall(data)
        with suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)


class RefusingRedis(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, behind: int) -> None:
        super().__init__(("127.0.0.1", 0), _Way)
        self.behind = behind
        self.error = ""
        self.clients: set[socket.socket] = set()
        self.port: int = self.server_address[1]

    def __enter__(self) -> "RefusingRedis":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        for client in self.clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        self.server_close()

    @contextmanager
    def answering(self, error: str) -> Iterator[None]:
        self.error = error
        yield
        self.error = ""
