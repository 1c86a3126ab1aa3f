"""The address of this machine's service, and a check whether it answers. No proxy is asked."""

import http.client
from urllib.parse import urlsplit

from local.variables import address

LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""A server that listens on every address has loopback too."""


def service_url() -> str:
    host, port = address()
    host = LOOPBACK.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_ready(url: str, path: str) -> bool:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
