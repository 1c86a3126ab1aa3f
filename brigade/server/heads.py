"""Checks of a request's head, beyond those of the parser (RFC 9112, 3.2 and 6.1)."""

import re
from collections.abc import Sequence

from brigade.headers import Header
from brigade.server.refusals import Refused

MAX_HEADERS = 100
"""Headers of a request, at most, as in Gunicorn and Apache. In `MAX_HEADER_BYTES` there is room for 5,000, which took 580 kB of memory."""

_PORT = rb"(?:\d{0,4}|[0-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
_is_host = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[\w.~!$&'()*+,;=%%-]{0,254})(?::%b)?" % _PORT).fullmatch
"""An IPv6 address in brackets, or a name of 253 characters and a dot, and perhaps a port. Answers repeat it."""

_absolute_form = re.compile(
    rb"https?://(?P<authority>(?:\[[^\]/?#@]+\]|[^/?#@:\[\]]+)(?::\d*)?)(?P<path>(?:/[^?#]*)?)(?P<query>(?:\?[^#]*)?)",
    re.I,
).fullmatch


def check_head(headers: Sequence[Header], version: str) -> None:
    """Refuse what llhttp lets pass and a server must not.

    Raises:
        Refused: The head is ambiguous or too large.
    """
    if len(headers) > MAX_HEADERS:
        check_header_count(headers)
    hosts = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
            if not _is_host(value):
                raise Refused(400, "The Host header is not a host.")
        elif name == b"transfer-encoding" and (value.lower() != b"chunked" or version != "1.1"):
            raise Refused(501, "The one transfer coding is chunked, and HTTP/1.1 has it.")
    if hosts != 1 and (hosts or version != "1.0"):
        raise Refused(400, "A request has one Host header.")
    if version not in {"1.1", "1.0"}:
        raise Refused(505, "This is an HTTP/1.1 server.")


def check_header_count(headers: Sequence[Header]) -> None:
    if len(headers) > MAX_HEADERS:
        raise Refused(431, f"A request may have {MAX_HEADERS} headers at most.")


def split_target(method: str, target: bytes, headers: list[Header]) -> tuple[bytes, bytes]:
    """The path and the query of a request target. The authority of an absolute one takes the place of Host.

    Raises:
        Refused: it has none of the four forms of RFC 9112, 3.2, that are for this method.
    """
    if target[:1] != b"/" and not (target == b"*" and method == "OPTIONS"):
        target = _read_absolute(headers, target)
    if b"#" in target:
        raise Refused(400, "The target of a request has no fragment.")
    path, _, query = target.partition(b"?")
    return path, query


def _read_absolute(headers: list[Header], target: bytes) -> bytes:
    found = _absolute_form(target)
    if found is None or not _is_host(found["authority"]):
        raise Refused(400, "The target is not the path of a URL.")
    headers[:] = [(b"host", found["authority"]), *(field for field in headers if field[0] != b"host")]
    return (found["path"] or b"/") + found["query"]
