"""The parts of REDIS_URL: one server, a cluster, or Sentinels. This module opens nothing.

Refusals quote nothing of a URL but names of options, as the rest may hold a password.
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from brigade.settings.postgres_url import read_host

REDIS = re.compile(r"(?P<scheme>rediss?|valkeys?)(\+(?P<kind>cluster|sentinel))?://|unix://")
PORTS = {"cluster": 6379, "sentinel": 26379}
TLS = {
    "ssl_cert_reqs",
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_check_hostname",
}
FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
KNOWN = {
    "server": TLS | {"db", "protocol"},
    "cluster": TLS,
    "sentinel": TLS | {"sentinel_password", "sentinel_tls"},
}
SWITCH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True)
class RedisUrl:
    kind: str
    """One of `server`, `cluster` and `sentinel`."""
    nodes: tuple[tuple[str, int], ...]
    """The one server too; nothing where it is a socket."""
    service: str
    """The Sentinels' name for the servers they watch."""
    options: dict[str, Any]
    sentinel_options: dict[str, Any]
    files: dict[str, str]
    """Files that it names, by option."""


def split_redis_url(url: str) -> SplitResult:
    """Split as `urlsplit`, which refuses an IPv6 address behind a comma since Python 3.14.

    Raises:
        ValueError: A bracket has no other one.
    """
    before, slashes, rest = url.partition("//")
    hosts = re.split("[/?#]", rest, maxsplit=1)[0]
    if hosts.count("[") != hosts.count("]"):
        raise ValueError("a bracket is missing")
    return urlsplit(f"{before}{slashes}{rest[len(hosts) :]}")._replace(netloc=hosts)


def read_redis_url(url: str) -> RedisUrl:
    """
    Raises:
        ValueError: it cannot be used.
    """
    scheme = REDIS.match(url)
    if scheme is None:
        raise ValueError("must start with redis://, redis+cluster:// or redis+sentinel://")
    kind = scheme["kind"] or "server"
    try:
        parts = split_redis_url(url)
    except ValueError:  # its text may quote the password
        raise ValueError("cannot be read: in a password, @ / # ? [ are %40 %2F %23 %3F %5B") from None
    more = dict(parse_qsl(parts.query, keep_blank_values=True))
    _check_options(more, kind, fragment=parts.fragment, tls=scheme["scheme"] in {"rediss", "valkeys"})
    files = {name: more[name] for name in FILES if more.get(name)}
    if kind == "server":
        return _server(parts.netloc, parts.path, files, is_socket=scheme["scheme"] is None)
    service, _, database = parts.path.strip("/").partition("/")
    if kind == "cluster" and service:
        raise ValueError("a cluster has no databases: nothing may follow its hosts")
    if kind == "sentinel" and not (service and re.fullmatch(r"\d*", database)):
        raise ValueError(
            "must name the service after the Sentinels, as redis+sentinel://host:26379,host:26379/service/0"
        )
    tls = scheme["scheme"] in {"rediss", "valkeys"}
    security = {"ssl": tls} | {name: _value(name, more[name]) for name in TLS & more.keys()}
    user = {
        name: value and unquote(value) for name, value in (("username", parts.username), ("password", parts.password))
    }
    database_option = {"db": int(database or 0)} if kind == "sentinel" else {}
    hosts = parts.netloc.rpartition("@")[2].split(",")
    nodes = tuple(read_host(host, PORTS[kind]) for host in hosts)
    asked = security if _value("sentinel_tls", more.get("sentinel_tls", str(tls))) else {}
    of_sentinels = {"password": more.get("sentinel_password")} | asked
    return RedisUrl(kind, nodes, service, user | security | database_option, of_sentinels, files)


def _server(netloc: str, path: str, files: dict[str, str], *, is_socket: bool) -> RedisUrl:
    """Its URL is read by the client itself, which takes a database that is no number for 0."""
    if is_socket:
        if not path.strip("/") or netloc.rpartition("@")[2]:
            raise ValueError("must have the whole path of its socket, as in unix:///run/redis.sock")
        return RedisUrl("server", (), "", {}, {}, files)
    if not re.fullmatch(r"/?\d*", path):
        raise ValueError("must end with the number of a database, as in redis://host:6379/0")
    host = netloc.rpartition("@")[2]
    nodes = (read_host(host, 6379),) if host and not host.startswith(":") else (read_host(f"localhost{host}", 6379),)
    return RedisUrl("server", nodes, "", {}, {}, files)


def _check_options(options: dict[str, str], kind: str, *, fragment: str, tls: bool) -> None:
    """The client would take any option for one of its own, and fail at its first command or change what it returns."""
    if fragment:
        raise ValueError("has a # in it: in a password that is %23")
    unknown = [name for name in options if name not in KNOWN[kind]]
    if unknown:
        named = (
            unknown[0] if re.fullmatch(r"[A-Za-z_]{1,32}", unknown[0]) and "@" not in "".join(options.values()) else ""
        )
        raise ValueError(
            f"has an option {named or 'that'} this service does not know: only {', '.join(sorted(KNOWN[kind]))} are known"
        )
    if TLS & options.keys() and not tls:
        raise ValueError("has options of TLS, and a scheme without it: write rediss:// for TLS")
    for name in options.keys() & {"ssl_check_hostname", "sentinel_tls"}:
        _value(name, options[name])
    if options.get("ssl_cert_reqs", "none") not in {"none", "optional", "required"}:
        raise ValueError("has an ssl_cert_reqs that is none of none, optional, required")
    for name in options.keys() & {"db", "protocol"}:
        if not options[name].isdecimal() or (name == "protocol" and options[name] not in {"2", "3"}):
            raise ValueError(f"has a {name} that is no such number")


def _value(name: str, value: str) -> Any:
    if name not in {"ssl_check_hostname", "sentinel_tls"}:
        return value
    if value.lower() not in SWITCH:
        raise ValueError(f"has a {name} that is neither true nor false")
    return SWITCH[value.lower()]
