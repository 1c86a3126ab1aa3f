"""A WebSocket or an event stream as one client reads it: message by message, until it is told to leave or is cut."""

import http.client
import random
from collections.abc import Iterator, Mapping
from contextlib import closing
from urllib.parse import urlsplit

from websocket import ABNF, WebSocketException, create_connection

SERVICE_RESTART = 1012
BACK_S = (0.5, 2.5)
"""Seconds until a client whose WebSocket was told to leave connects again: a random number, so that not all do at once."""
TIMEOUT_S = 60.0
"""Three times the seconds between two signs of life of a stream on which nothing happens."""


class Told(Exception):
    """The service said that the stream ends. The client connects again after some seconds."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"back in {after_s:.1f} s")
        self.after_s = after_s


class Cut(Exception):
    """The stream ended without a word, or could not be opened."""


def read_socket(url: str, headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the messages of a WebSocket.

    Raises:
        Told: A close frame came, with the code of a restart.
        Cut: Anything else ended it.
    """
    address = url.replace("http", "ws", 1)
    try:
        fields = [f"{name}: {value}" for name, value in headers.items()]
        with closing(create_connection(address, TIMEOUT_S, header=fields, http_no_proxy=["*"])) as socket:
            while True:
                kind, data = socket.recv_data(control_frame=True)  # it answers pings and the close frame itself
                if kind == ABNF.OPCODE_CLOSE:
                    break
                if kind == ABNF.OPCODE_TEXT:
                    yield data.decode()
    except (OSError, WebSocketException) as error:
        raise Cut(f"{type(error).__name__}: {error}") from error
    if (code := int.from_bytes(data[:2], "big")) != SERVICE_RESTART:
        raise Cut(f"It was closed with {code}.")
    raise Told(random.uniform(*BACK_S))  # noqa: S311 - no secret


def read_events(url: str, headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the data of server-sent events.

    Raises:
        Told: The last event was a `retry:`.
        Cut: Anything else ended it.
    """
    parts, retry_ms = urlsplit(url), ""
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        with closing(kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)) as connection:
            connection.request("GET", parts.path, headers={"Accept": "text/event-stream", **headers})
            answer = connection.getresponse()
            if answer.status != 200:
                raise Cut(f"It was answered {answer.status}.")
            while line := answer.readline():
                name, _, value = line.decode().strip().partition(": ")
                retry_ms = value if name == "retry" else "" if name == "data" else retry_ms
                if name == "data":
                    yield value
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Cut(f"{type(error).__name__}: {error}") from error
    if not retry_ms:
        raise Cut("It ended without a retry.")
    raise Told(int(retry_ms) / 1000)
