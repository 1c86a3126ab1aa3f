"""The messages of a local run to the person at the terminal, and the check that the service is ready."""

import http.client
import os
from contextlib import suppress

from local.variables import address

STDOUT = 1
PAGES = {
    "/docs": "the API, to try out",
    "/lab": "the live page, and the event-loop laboratory",
    "/workers": "what each worker does",
    "/metrics": "the same for Prometheus",
}


def say(text: str) -> None:
    """Write text without Python's buffer, and continue if the terminal is gone, because the exit must not stop for it."""
    with suppress(OSError):
        os.write(STDOUT, f"{text}\n".encode())


def announce(after_s: float) -> None:
    host, port = _reachable()
    shown = f"[{host}]" if ":" in host else host
    width = max(map(len, PAGES))
    pages = [f"  http://{shown}:{port}{path:<{width}}  {what}" for path, what in PAGES.items()]
    say("\n".join(["", f"Ready after {after_s:.1f} s:", *pages, "Ctrl-C ends all of it and keeps the data.", ""]))


def is_ready() -> bool:
    connection = http.client.HTTPConnection(*_reachable(), timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _reachable() -> tuple[str, int]:
    """A server that listens on every address has loopback too."""
    host, port = address()
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port
