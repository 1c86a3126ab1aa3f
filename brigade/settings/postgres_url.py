"""The parts of DATABASE_URL: hosts, database, and libpq's own parameters. This module opens nothing.

Refusals quote nothing of a URL but names of parameters, as the rest may hold a password.
"""

import re
import ssl
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode

POSTGRES = re.compile(
    r"(?P<scheme>postgres(?:ql)?)://(?:(?P<user>[^@/?#]*)@)?(?P<hosts>[^/?#]*)(?:/(?P<path>[^?#]*))?(?:\?(?P<query>[^#]*))?"
)
PORT = 5432
LONGEST_LABEL = 63
"""Characters between the dots of a host's name (RFC 1035, 2.3.4); Python raises where there are more, or none."""
SETTLES = {"read-write", "primary", "standby", "read-only"}
"""Values of target_session_attrs that say which of several servers is meant."""
CHOICES = {
    "sslmode": {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"},
    "target_session_attrs": SETTLES | {"any", "prefer-standby"},
}
FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")
SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)

# Deadlines are the service's own, and keepalives are no use beside them. asyncpg has neither GSS encryption nor channel
# binding: sslmode=verify-full is what proves to the client which server it is.
LEFT_OUT: dict[str, set[str] | None] = {
    "application_name": None,
    "channel_binding": None,
    "client_encoding": {"utf8", "utf-8", "unicode", "auto"},
    "connect_timeout": None,
    "fallback_application_name": None,
    "gssdelegation": {"0"},
    "gssencmode": {"disable", "prefer"},
    "keepalives": None,
    "keepalives_count": None,
    "keepalives_idle": None,
    "keepalives_interval": None,
    "load_balance_hosts": {"disable"},
    "replication": {"0", "false", "off", "no"},
    "requiressl": {"0"},
    "sslcertmode": {"allow"},
    "sslcompression": {"0"},
    "sslsni": {"1"},
    "tcp_user_timeout": None,
}
"""Parameters of libpq that change nothing here, with the values of which that is true."""
REFUSED = {
    "hostaddr",
    "requirepeer",
    "require_auth",
    "sslcrldir",
    "sslkeylogfile",
    "scram_client_key",
    "scram_server_key",
}
REFUSED |= {"min_protocol_version", "max_protocol_version", "servicefile"}
UNREADABLE = (
    "cannot be read: it is postgresql://user:password@host:port/database, and in a password @ / # ? are %40 %2F %23 %3F"
)


@dataclass(frozen=True)
class PostgresUrl:
    dsn: str
    """The URL as asyncpg understands it, without parameters that change nothing here."""
    hosts: list[tuple[str, int]]
    """Empty where a service file, or libpq's own variables and defaults, have to say it. A socket's folder is a host."""
    username: str
    password: str
    database: str
    files: dict[str, str]
    """Files that it names, by parameter."""
    asks_for_channel_binding: bool

    @property
    def places(self) -> str:
        """The hosts for people to read: ` at host:port, host:port`, or the folder of a socket."""
        shown = [host if host.startswith("/") else f"{_bracketed(host)}:{port}" for host, port in self.hosts]
        return f" at {', '.join(shown)}" if shown else ""

    @property
    def digest(self) -> str:
        """The same for the same hosts and database, whatever the user, the password and the order of hosts."""
        return sha256(repr((sorted(self.hosts), self.database)).encode()).hexdigest()[:16]


def read_postgres_url(url: str) -> PostgresUrl:
    """
    Raises:
        ValueError: it cannot be used.
    """
    if not re.match(r"postgres(ql)?://", url):
        raise ValueError("must start with postgresql:// or postgres://")
    found = POSTGRES.fullmatch(url)
    if found is None or re.search(r"%(?![0-9a-fA-F]{2})", url):
        raise ValueError(UNREADABLE)
    parameters = dict(parse_qsl(found["query"] or "", keep_blank_values=True))
    hosts = _hosts(found["hosts"], parameters)
    if len(hosts) > 1 and parameters.get("target_session_attrs") not in SETTLES:
        raise ValueError(
            "names several hosts: add ?target_session_attrs=read-write, or standby where only reads go, "
            "so that the right one is taken"
        )
    _check_choices(parameters)
    binding = parameters.get("channel_binding") == "require"
    kept = {name: value for name, value in parameters.items() if not _is_left_out(name, value)}
    if kept.get("sslrootcert") == "system":
        kept["sslrootcert"] = _system_roots(kept.get("sslmode"))
    user, _, password = map(unquote, (found["user"] or "").partition(":"))
    user, password = user or kept.get("user", ""), password or kept.get("password", "")
    database = unquote(found["path"] or "") or kept.get("dbname") or kept.get("database") or user
    files = {name: kept[name] for name in FILES if kept.get(name)}
    base = url.partition("?")[0].partition("#")[0]
    dsn = f"{base}?{urlencode(kept, quote_via=quote, safe='/:')}" if kept else base
    return PostgresUrl(dsn, hosts, user, password, database, files, binding)


def _check_choices(parameters: dict[str, str]) -> None:
    # SQLAlchemy has it; Postgres would take it for a setting of its own, and refuse the session.
    if "ssl" in parameters:
        raise ValueError("has a parameter ssl, which Postgres does not know in a URL: write sslmode=require")
    for name in CHOICES.keys() & parameters.keys():
        if parameters[name] not in CHOICES[name]:
            raise ValueError(f"has a {name} that is none of {', '.join(sorted(CHOICES[name]))}")


def with_password(url: str, password: str) -> str:
    """The URL with this password, if it names a user, before the hosts or as a parameter, and has none itself."""
    secret = quote(password, safe="")
    parameters = dict(parse_qsl(url.partition("?")[2]))
    if "user" in parameters and "@" not in url.partition("?")[0]:
        return url if "password" in parameters else f"{url}&password={secret}"
    return re.sub(r"^(\w+://[^:@/?#]+):?@", lambda found: f"{found[1]}:{secret}@", url)


def _is_left_out(name: str, value: str) -> bool:
    harmless = LEFT_OUT.get(name, set())
    if harmless is None or value.lower() in harmless:
        return True
    if name in REFUSED or name in LEFT_OUT:
        raise ValueError(f"asks for {name}, which this service cannot do with that value: leave it out")
    return False


def _hosts(listed: str, parameters: dict[str, str]) -> list[tuple[str, int]]:
    """Return the hosts before the path, or otherwise those of ?host= and ?port=."""
    ports = [port for port in parameters.get("port", "").split(",") if port]
    listed = listed or parameters.get("host", "")
    if not listed:
        return []
    hosts = listed.split(",")
    if len(ports) not in {0, 1, len(hosts)}:
        raise ValueError(UNREADABLE)
    defaults = ports if len(ports) > 1 else (ports or [str(PORT)]) * len(hosts)
    return [_host(host, default) for host, default in zip(hosts, defaults, strict=True)]


def _host(listed: str, default_port: str) -> tuple[str, int]:
    """A colon in the folder of a socket is %3A before the path, so that another one can be there before a port."""
    if socket := re.fullmatch(r"(%2[fF][^:]*):(\d+)", listed):
        return read_host(unquote(socket[1]), socket[2])
    return read_host(unquote(listed), default_port)


def read_host(host: str, default_port: str | int) -> tuple[str, int]:
    """
    Raises:
        ValueError: it is neither a host with a port nor the folder of a socket.
    """
    if host.startswith("/"):
        found, port = host, str(default_port)
    else:
        parts = re.fullmatch(r"(?P<host>\[[0-9a-fA-F:.%\w]+\]|[\w.-]+)(:(?P<port>\d{0,5}))?", host)
        if parts is None:
            raise ValueError(
                "must list hosts, each host:port, with commas between; in a password @ / # are %40 %2F %23"
            )
        found, port = parts["host"].strip("[]"), parts["port"] or str(default_port)
        if not all(0 < len(label) <= LONGEST_LABEL for label in found.removesuffix(".").split(".")):
            raise ValueError("must list hosts, and between the dots of a name are 1 to 63 characters")
    if not (port.isdecimal() and 0 < int(port) < 2**16):
        raise ValueError("must list hosts, each host:port, with commas between, and a port is 1 to 65535")
    return found, int(port)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _system_roots(sslmode: str | None) -> str:
    if sslmode != "verify-full":
        raise ValueError("has sslrootcert=system, which needs sslmode=verify-full")
    known = [ssl.get_default_verify_paths().cafile, *SYSTEM_ROOTS]
    for path in filter(None, known):
        if Path(path).is_file():
            return str(path)
    raise ValueError("has sslrootcert=system, and this system has no certificates: install ca-certificates")
