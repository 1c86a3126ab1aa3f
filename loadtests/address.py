"""The address of this machine's service, and a check whether it answers. No proxy is asked."""

import http.client
from urllib.parse import urlsplit

from loadtests.words import as_link
from local.variables import address


def service_url() -> str:
    host, port = address()
    return as_link(f"http://{host}:{port}")


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
