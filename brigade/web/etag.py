"""Conditional requests: whether the client has, or means, what an entity tag names."""

import re

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


def is_known(if_none_match: str, etag: str) -> bool:
    """Whether `If-None-Match` names `etag`, by weak comparison: a list of tags, each perhaps weak, or `*`.

    RFC 9110, section 13.1.2 (https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2), has the rules.
    """
    tags = (tag.removeprefix("W/") for tag in _TAG.findall(if_none_match))
    return if_none_match.strip() == "*" or etag.removeprefix("W/") in tags


def is_current(if_match: str, etag: str) -> bool:
    """Whether `If-Match` names `etag`, by strong comparison: neither of the two is weak (RFC 9110, section 13.1.1)."""
    return if_match.strip() == "*" or (etag.startswith('"') and etag in _TAG.findall(if_match))
