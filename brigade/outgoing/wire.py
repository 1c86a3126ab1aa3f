"""The connections of calls: when one is used again, when another is tried, and what is asked for on it."""

import re
from typing import Any

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError
from yarl import URL

_is_uri = re.compile(r"(?:[\w.~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*", re.ASCII).fullmatch
"""Whether it has the characters of RFC 3986 alone, so that nothing has to be quoted."""


class Connector(aiohttp.TCPConnector):
    async def _get(self, *key: Any) -> Any:
        """Use no connection again on which the host has said something that nobody asked for.

        It would be taken for the answer to the next request, which may be another user's (RFC 9112, 11.2).
        """
        while (connection := await super()._get(*key)) is not None:
            if connection.protocol is None or not connection.protocol.should_close:
                break
            connection.close()
        return connection


def read_address(url: str) -> URL:
    """Keep path and query as they are written, because a signature may cover every escape. Quote what is no URI yet.

    Raises:
        ValueError: It cannot be read.
    """
    address = URL(url)
    if not address.host or not _is_uri(url):
        return address
    path, query = (written := URL(url, encoded=True)).raw_path, written.raw_query_string
    return URL.build(
        scheme=address.scheme, authority=address.raw_authority, path=path, query_string=query, encoded=True
    )


def has_broken_off(error: aiohttp.ClientError) -> bool:
    """Whether the same request may be answered on another connection: not where the certificate or the coding is wrong."""
    return not isinstance(error, aiohttp.ClientConnectorCertificateError) and not isinstance(
        error.__cause__, ContentEncodingError
    )
