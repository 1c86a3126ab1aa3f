"""Single requests of the measuring process itself. The load comes from processes of its own."""

import http.client
import json
from collections.abc import Mapping
from email.message import Message
from typing import Any

from proof.prove.connection import Address
from proof.prove.window import Load


def is_ready(url: str, path: str = "/readyz") -> bool:
    try:
        return ask(url, path, timeout_s=2)[0] == 200
    except OSError:
        return False


def ask(
    url: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None, timeout_s: float = 10
) -> tuple[int, bytes]:
    """One request and its answer, whatever its status; no redirect is followed.

    Raises:
        OSError: there was none.
    """
    method = "GET" if body is None else "POST"
    sent = {"Content-Type": "application/json", **(headers or {})}
    status, content, _ = _exchange(url, path, timeout_s, method, sent, body)
    return status, content


def ask_load(url: str, load: Load, *, timeout_s: float) -> int:
    """Ask once for what the users of a load ask for. Return the status."""
    body = load.body.encode() or None
    return _exchange(url, load.path, timeout_s, load.method, dict(load.headers), body)[0]


def answering_host(url: str) -> str:
    """The replica that answered, by its X-Worker; empty where the deployment does not say."""
    headers = _exchange(url, "/livez", 10)[2]
    return headers.get("X-Worker", "").rpartition(":")[0]


def _exchange(  # noqa: PLR0913, PLR0917
    url: str,
    path: str,
    timeout_s: float,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> tuple[int, bytes, Message]:
    connection = http.client.HTTPConnection(*Address.of(url), timeout=timeout_s)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()


def read_workers(url: str, *, timeout_s: float = 10) -> dict[str, Any]:
    """`GET /workers`: the plan, and every live worker."""
    return dict(json.loads(ask(url, "/workers", timeout_s=timeout_s)[1]))
