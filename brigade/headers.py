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


def has_content(headers: Iterable[Header]) -> bool:
    """Whether a body follows. A request has one if it says its length or a transfer coding (RFC 9112, 6.3)."""
    fields = dict(headers)
    return b"transfer-encoding" in fields or bool(fields.get(b"content-length", b"").strip(b"0"))


def content_codings(headers: Iterable[Header]) -> list[bytes]:
    """List the codings that the body has been given, without `identity`, which is none (RFC 9110, 8.4)."""
    lists = (value.lower().split(b",") for name, value in headers if name == b"content-encoding")
    return [coding for each in lists for item in each if (coding := item.strip()) not in {b"", b"identity"}]
