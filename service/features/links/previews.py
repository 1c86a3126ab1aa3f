"""Tells a visit from what software fetches by itself: prefetches, previews of links in messages, crawlers."""

import re
from collections.abc import Iterable
from functools import lru_cache

_PURPOSES = frozenset((b"sec-purpose", b"purpose", b"x-moz", b"x-purpose"))
"""Fetch defines the first: https://fetch.spec.whatwg.org/#sec-purpose-header. Older browsers send the others."""

_is_ahead = re.compile(rb"prefetch|prerender|preview", re.IGNORECASE).search
# The commonest of https://github.com/monperrus/crawler-user-agents; Cubot makes phones.
_names_software = re.compile(
    rb"(?<!cu)bot(?![a-z])|crawler|spider|facebookexternalhit|facebookcatalog|meta-external|whatsapp/|bingpreview"
    rb"|skypeuripreview|snap url preview|slack-imgproxy|vkshare|embedly|iframely|mastodon/|google-inspectiontool|cardyb",
    re.IGNORECASE,
).search


@lru_cache(256)
def _is_software(user_agent: bytes) -> bool:
    return _names_software(user_agent) is not None


def is_preview(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether nobody has clicked, by what the request says of itself."""
    for name, value in headers:
        if name == b"user-agent":
            if _is_software(value):
                return True
        elif name in _PURPOSES and _is_ahead(value):
            return True
    return False
