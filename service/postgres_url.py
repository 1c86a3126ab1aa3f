"""What a Postgres URL says: one server, or several of which one is the primary. Opens nothing."""

import re
from urllib.parse import parse_qs

URL = re.compile(r"postgres(ql)?://([^/?#]*@)?(?P<hosts>[^/?#]*)[^?#]*\??(?P<query>[^#]*)")
PORT = 5432
SETTLES = {"read-write", "primary", "standby", "read-only"}
"""Values of target_session_attrs that say which of several servers is meant."""


def read_hosts(url: str) -> list[tuple[str, int]]:
    """Where the URL leads, if to several servers; a single one's is the client's to read.

    Raises:
        ValueError: it cannot be used; the message quotes nothing of it, as it may hold a password.
    """
    found = URL.match(url)
    if found is None:
        raise ValueError("must start with postgresql:// or postgres://")
    hosts = found["hosts"].split(",")
    if len(hosts) == 1:
        return []
    if not SETTLES.intersection(parse_qs(found["query"]).get("target_session_attrs", [])):
        raise ValueError(
            "names several hosts: add ?target_session_attrs=read-write, or standby where only reads go, "
            "so that the right one is taken"
        )
    return [_host(host) for host in hosts]


def _host(host: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?P<name>[\w.-]+)(:(?P<port>\d{1,5}))?", host)
    if found is None or not 0 < (port := int(found["port"] or PORT)) < 2**16:
        raise ValueError("must list hosts, each host:port, with commas between")
    return found["name"], port
