"""The line that a request leaves: rendered once, as bytes, without a log record and without a chain of processors."""

import asyncio
import json
import os
import re
import time
from collections.abc import Callable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, get_args

from opentelemetry.trace import SpanContext

from brigade.telemetry import tracing
from brigade.telemetry.rendering import Render

LOGGER = "service.access"

PATH_SHOWN = 300
"""Characters of the path, and of the client that a proxy names. Each may have 32 kB, and 10,000 lines that wait would then
take 300 MB.
"""

LINES_FOR_PEOPLE = 30
"""Access lines of one second that people are shown. The others are counted."""


MS = {kind: f"{kind}_ms" for kind in get_args(tracing.Kind)}

_PLAIN = (
    b'{"event":"request","level":"info","logger":"%s","timestamp":"%%b.%%06dZ","pid":%%d,"request_id":"%%b","method":"%%b",'
    b'"path":"%%b","route":%%b,"status":%%d,"duration_ms":%%.2f,"loop_ms":%%.2f,"client":"%%b"%%b}\n'
) % LOGGER.encode()
_WAITED = {kind: b',"%s":%%.2f' % name.encode() for kind, name in MS.items()}
_TRACED = b',"trace_id":"%032x","span_id":"%016x"'
_is_plain = re.compile(rf"[!#-\[\]-~]{{1,{PATH_SHOWN}}}").fullmatch
"""Whether a text is the same in JSON as it is."""


@lru_cache(1024)
def _quoted(text: str | None) -> bytes:
    return json.dumps(text).encode()


class AccessLog:
    """Renders the access lines of one process. One costs 5 µs as JSON and 60 as text for people, who get few of them."""

    def __init__(self, put: Callable[[bytes], None], render: Render, *, for_people: bool) -> None:
        self._put = put
        self._render = render
        self._pid = os.getpid()
        self._second, self._until_second = 0, ""
        self._plain_second, self._until_fraction = 0, b""
        self._for_people = for_people
        self._shown = self._left_out = 0

    def write(self, line: MutableMapping[str, Any]) -> None:
        if not self._for_people:
            self._put(self._render(line))
        elif self._shown < LINES_FOR_PEOPLE:
            if not self._shown:
                asyncio.get_running_loop().call_later(1.0, self._end_second)
            self._shown += 1
            self._put(self._render(line))
        else:
            self._left_out += 1

    def write_plain(  # noqa: PLR0913, PLR0917 - as `log_access`, which hands them on
        self,
        scope: Mapping[str, Any],
        identifier: bytes,
        status: int,
        duration_s: float,
        spent: Mapping[tracing.Kind, float],
        place: SpanContext | None,
    ) -> bool:
        """Write a line as `write` does of `line`, straight into bytes. False for the few that need more than that.

        It takes 5 µs under load. A dictionary and its rendering took half as much again.
        """
        path, client, route = scope["path"], scope.get("client"), scope.get("route")
        if self._for_people or "key" in scope or not client:
            return False
        if not (_is_plain(path) and _is_plain(client[0])):
            return False
        now_s, loop_s, rest = time.time(), duration_s, b""
        second = int(now_s)
        if second != self._plain_second:
            self._plain_second = second
            self._until_fraction = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        for kind, seconds in spent.items():
            loop_s -= seconds
            rest += _WAITED[kind] % (seconds * 1000)
        if place is not None:
            rest += _TRACED % (place.trace_id, place.span_id)
        values = (
            self._until_fraction, int((now_s - second) * 1e6), self._pid, identifier, scope["method"].encode(),
            path.encode(), _quoted(route and route.path), status or 499, duration_s * 1000, max(0.0, loop_s) * 1000,
            client[0].encode(), rest,
        )  # fmt: skip
        self._put(_PLAIN % values)
        return True

    def line(  # noqa: PLR0913, PLR0917 - the same
        self,
        scope: Mapping[str, Any],
        identifier: bytes,
        status: int,
        duration_s: float,
        spent: Mapping[tracing.Kind, float],
        place: SpanContext | None,
    ) -> dict[str, Any]:
        client, route, path = scope.get("client"), scope.get("route"), scope["path"]
        loop_s = duration_s
        for seconds in spent.values():
            loop_s -= seconds
        line: dict[str, Any] = {
            "event": "request",
            "level": "info",
            "logger": LOGGER,
            "timestamp": self._timestamp(),
            "pid": self._pid,
            "request_id": identifier.decode(),
            "method": scope["method"],
            "path": path if len(path) <= PATH_SHOWN else path[:PATH_SHOWN],
            "route": route and route.path,
            "status": status or 499,  # no answer: the client went away first
            "duration_ms": round(duration_s * 1e5) / 100,  # `round` with digits takes twice as long
            "loop_ms": round(loop_s * 1e5) / 100 if loop_s > 0 else 0.0,
            "client": client and client[0][:PATH_SHOWN],
        }
        for kind, seconds in spent.items():
            line[MS[kind]] = round(seconds * 1e5) / 100
        if "key" in scope:
            line["key"] = scope["key"]
        tracing.add_ids(line, place)
        return line

    def _timestamp(self) -> str:
        now_s = time.time()
        second = int(now_s)
        if second != self._second:
            self._second = second
            self._until_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._until_second}.{int((now_s - second) * 1e6):06d}Z"

    def _end_second(self) -> None:
        left_out, self._shown, self._left_out = self._left_out, 0, 0
        if left_out:
            self._put(
                self._render(
                    {
                        "event": "requests that are not shown",
                        "level": "info",
                        "logger": LOGGER,
                        "timestamp": self._timestamp(),
                        "pid": self._pid,
                        "lines": left_out,
                    }
                )
            )
