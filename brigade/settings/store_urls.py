"""What DATABASE_URL and REDIS_URL say: one server, several, a cluster, Sentinels. Opens nothing.

Refusals quote nothing of a URL, as it may hold a password.
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlsplit

POSTGRES = re.compile(r"postgres(ql)?://([^/?#]*@)?(?P<hosts>[^/?#]*)[^?#]*\??(?P<query>[^#]*)")
SETTLES = {"read-write", "primary", "standby", "read-only"}
"""Values of target_session_attrs that say which of several servers is meant."""
REDIS = re.compile(r"(?P<tls>rediss?|valkeys?)(\+(?P<kind>cluster|sentinel))?://|unix://")
PORTS = {"postgres": 5432, "cluster": 6379, "sentinel": 26379}


def read_postgres_url(url: str) -> list[tuple[str, int]]:
    """Where the URL leads, if to several servers; a single one's is the client's to read.

    Raises:
        ValueError: it cannot be used.
    """
    found = POSTGRES.match(url)
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
    return [_host(host, PORTS["postgres"]) for host in hosts]


def with_password(url: str, password: str) -> str:
    """The URL with this password, if it names a user and has none itself."""
    return re.sub(r"^(\w+://[^:@/?#]+)@", lambda found: f"{found[1]}:{quote(password, safe='')}@", url)


@dataclass(frozen=True)
class RedisUrl:
    kind: str
    """server, cluster or sentinel"""
    nodes: tuple[tuple[str, int], ...]
    service: str
    """What the Sentinels call the servers they watch."""
    options: dict[str, Any]
    sentinel_password: str | None


def read_redis_url(url: str) -> RedisUrl:
    """Of a single server only the kind: its URL is the client's to read.

    Raises:
        ValueError: it cannot be used.
    """
    scheme = REDIS.match(url)
    if scheme is None:
        raise ValueError("must start with redis://, redis+cluster:// or redis+sentinel://")
    kind = scheme["kind"]
    if kind is None:
        return RedisUrl("server", (), "", {}, None)
    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    if kind == "cluster" and service:
        raise ValueError("a cluster has no databases: nothing may follow its hosts")
    if kind == "sentinel" and not (service and re.fullmatch(r"\d*", database)):
        raise ValueError(
            "must name the service after the Sentinels, as redis+sentinel://host:26379,host:26379/service/0"
        )
    more = dict(parse_qsl(parts.query))
    if parts.fragment or more.keys() - ({"sentinel_password"} if kind == "sentinel" else set()):
        raise ValueError(
            "has options that a cluster or Sentinels are not asked with: only ?sentinel_password= is known"
        )
    options: dict[str, Any] = {
        "username": parts.username and unquote(parts.username),
        "password": parts.password and unquote(parts.password),
        "ssl": scheme["tls"] in {"rediss", "valkeys"},
    }
    if kind == "sentinel":
        options["db"] = int(database or 0)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    nodes = tuple(_host(host, PORTS[kind]) for host in hosts)
    return RedisUrl(kind, nodes, service, options, more.get("sentinel_password"))


def _host(host: str, port: int) -> tuple[str, int]:
    found = re.fullmatch(r"(?P<host>\[[0-9a-fA-F:.]+\]|[\w.-]+)(:(?P<port>\d{1,5}))?", host)
    if found is None or not 0 < (number := int(found["port"] or port)) < 2**16:
        raise ValueError("must list hosts, each host:port, with commas between")
    return found["host"].strip("[]"), number
