"""Listens to the watchdogs of a deployment: its lab streams what they say, with the file and the line."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Self

from proof.prove.connection import Address

SILENT_S = 60.0
LATE_S = 0.6
"""Workers publish five times a second, and the stream asks as often."""


class LabEvents:
    """Without a lab there are no events."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(*Address.of(url), timeout=SILENT_S)
        self._incidents: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def between(self, began_at: float, ended_at: float) -> Iterator[dict[str, Any]]:
        """Yield the incidents of that time, as the log line of the watchdog has them."""
        for each in list(self._incidents):
            if began_at <= each["at"] <= ended_at:
                path = each["requests"][0][1] if each["requests"] else None
                yield {"cause": each["cause"], "blocked_ms": each["blocked_ms"], "path": path, **(each["place"] or {})}

    def _listen(self) -> None:
        with suppress(OSError, http.client.HTTPException, ValueError, AttributeError):  # it ends when it is closed
            self._connection.request("GET", "/lab/events")
            answer = self._connection.getresponse()
            while answer.status == 200 and (line := answer.readline()):
                if line.startswith(b"data:") and b'"incidents"' in line:
                    self._incidents += json.loads(line[5:])["incidents"]
