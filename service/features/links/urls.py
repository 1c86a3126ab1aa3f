"""The URLs that may be shortened, and their form in a `Location` header. This is pure: no request, no server."""

import ipaddress
import posixpath
import re
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from typing import TypeVar
from urllib.parse import SplitResult, quote, unquote, urlsplit

import idna

T = TypeVar("T")

MAX_LENGTH = 2048

_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:@]+)(?::(?P<port>[0-9]{0,5}))?").fullmatch
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\.?$)(?:{_LABEL}\.)*{_LABEL}\.?").fullmatch
_IS_NUMBER = re.compile("[0-9]+|0x[0-9a-f]*").fullmatch
"""A host that ends in one is an IPv4 address to browsers, however it is written."""
_has_control = re.compile(r"[\x00-\x1f\x7f]").search
_ASCII = "".join(map(chr, range(0x21, 0x7F)))


def check_url(url: str) -> str:
    """The URL as it came.

    Raises:
        ValueError: it is not an absolute http or https URL that every client reads alike; the message says why.
    """
    if not url.isprintable() or " " in url or "\\" in url:
        # Browsers drop some of these and read a backslash as a slash: they would go elsewhere than we checked.
        raise ValueError("spaces, backslashes and invisible characters must be percent-encoded")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError("must be an absolute http or https URL with a host")
    if "@" in parts.netloc:
        raise ValueError("must not carry a user name or password")
    _split_authority(parts)
    if len(to_location(url)) > MAX_LENGTH:
        raise ValueError(f"must have at most {MAX_LENGTH} characters when written in ASCII")
    return url


def to_location(url: str) -> bytes:
    """Return ASCII as it is; otherwise the host by IDNA and the rest percent-encoded.

    Raises:
        ValueError: There is no such form, as a URL that was not checked may have none.
    """
    if not url or _has_control(url):
        raise ValueError("must not be empty, nor have control characters")
    if url.isascii():
        return url.encode()
    parts = urlsplit(url)
    if not parts.netloc:
        raise ValueError("must be an absolute URL with a host")
    rest = url[len(parts.scheme) + len("://") + len(parts.netloc) :]
    return f"{parts.scheme}://{_to_ascii(parts.netloc)}{quote(rest, safe=_ASCII)}".encode()


def leads_under(url: str, base: str) -> bool:
    """Whether `url` is an address below `base`, however its host, its port and its scheme are written."""
    target = urlsplit(url)
    with suppress(ValueError):  # a base from a Host header may be nonsense, under which nothing leads
        own = urlsplit(base)
        if _split_authority(target) != _split_authority(own):
            return False
        # A browser takes out the dots before it decodes, a proxy perhaps after it.
        paths = (_plain(path) for path in (target.path, _without_dots(target.path)))
        return any(path.startswith(unquote(own.path)) for path in paths)
    return False


def _plain(path: str) -> str:
    return posixpath.normpath(f"/{unquote(path).lstrip('/')}")


def _without_dots(path: str) -> str:
    """Remove dot segments as browsers do: `%2e` is a dot, `%2f` no slash, and between two slashes is a segment, which `..` takes back."""
    segments: list[str] = []
    for segment in path.split("/")[1:]:
        dots = segment.lower().replace("%2e", ".")
        if dots == "..":
            del segments[-1:]
        elif dots != ".":
            segments.append(segment)
    return "/".join(segments)


def _to_ascii(netloc: str) -> str:
    host, colon, port = netloc.partition(":")
    return _by_idna(partial(idna.encode, uts46=True), host).decode() + colon + port if not host.isascii() else netloc


def _by_idna(translate: Callable[[str], T], host: str) -> T:
    try:
        return translate(host)
    except idna.IDNAError as error:
        raise ValueError(f"must have a host name that IDNA allows: {error}") from None


@lru_cache(256)
def _split_authority(parts: SplitResult) -> tuple[str, int]:
    """Host, in one of its spellings, and port; the port of plain http also stands for https."""
    match = _AUTHORITY(_to_ascii(parts.netloc))
    if match is None or int(match["port"] or 0) > 65535:
        raise ValueError("must have a host, and a port up to 65535 if any")
    host, port = match["host"].lower(), int(match["port"] or 80)
    if host.startswith("["):
        address = ipaddress.IPv6Address(host[1:-1])
        return str(address.ipv4_mapped or address), port
    if _IS_NUMBER(host.rstrip(".").rpartition(".")[2]):
        return str(ipaddress.IPv4Address(host.rstrip("."))), port
    if not _HOST_NAME(host):
        raise ValueError("must have a valid host name")
    if "xn--" in host:
        _by_idna(idna.decode, host)
    return host.rstrip("."), 80 if port == 443 else port
