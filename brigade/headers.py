"""Header fields that both the server and the web layers read or write. Neither of the two imports the other."""

from collections.abc import Iterable

Header = tuple[bytes, bytes]

SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
]
"""Every answer but a redirect has these. What serves HTML adds a Content-Security-Policy, and what ends TLS adds HSTS."""


def declared_bytes(headers: Iterable[Header]) -> int:
    """The length of the body as Content-Length says, or 0 without one."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)  # the parser has refused anything but digits
    return 0
