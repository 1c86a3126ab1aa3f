"""Every environment variable the engine reads: its type, its default and one sentence.

A service adds its own in a subclass. `.env.example` and `docs/settings.md` list all of them; a test compares the three.
"""

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    Field,
    NonNegativeInt,
    PositiveInt,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from brigade.settings.postgres_url import PostgresUrl, read_postgres_url, with_password
from brigade.settings.redis_url import split_redis_url
from brigade.settings.types import (
    ApiKeys,
    Folder,
    Host,
    Networks,
    Origins,
    PostgresAddress,
    Prefix,
    RateLimit,
    RedisAddress,
    Seconds,
    SecondsOrNone,
)

DRAIN_MARGIN_S = 2.0
"""A worker ends its drain this long before Gunicorn would kill it, so that the lifespan still closes the pools."""


class Settings(BaseSettings):
    """The field names, in capitals, are the variables. `NAME_FILE` names a file that holds the value of `NAME`."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        allow_inf_nan=False,
    )

    host: Host = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port to listen on."""
    server: Literal["brigade", "stock"] = "brigade"
    """The worker class: Brigade's own, or uvicorn's stock one for Gunicorn; docs/servers.md says what that lacks."""
    web_concurrency: PositiveInt | None = None
    """Worker processes; if not set, sized to the CPUs, the memory and the connection budget."""
    replicas: PositiveInt = 1
    """How many copies of this service share the Postgres server."""
    reuse_port: bool = False
    """Give each worker a listening socket of its own (SO_REUSEPORT)."""
    ops_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Another port, for operators. It serves everything of PORT, and /metrics even while every event loop is blocked."""
    ops_public: bool = True
    """Serve /metrics, /workers and /lab on PORT too; when off, only OPS_PORT serves them."""

    database_url: PostgresAddress | None = None
    """Postgres, as postgresql://user:password@host:port/database; or host:port,host:port and ?target_session_attrs=read-write."""
    database_pooled: bool = False
    """DATABASE_URL leads to a pooler that keeps no prepared statements, so use none, and set nothing in a session."""
    database_read_url: PostgresAddress | None = None
    """A streaming replica of DATABASE_URL, for reads that may be a moment old; what it lacks is asked of DATABASE_URL."""
    migration_database_url: PostgresAddress | None = None
    """Postgres for migrations, instead of DATABASE_URL: around a pooler, or as another role."""
    database_password: SecretStr | None = None
    """Password of any characters, without escapes, for each of these URLs that names a user and no password."""
    redis_url: RedisAddress | None = None
    """Redis or Valkey, as redis://host:port/0, redis+cluster://host:port,host:port or redis+sentinel://host:port,host:port/service."""
    deployment: Annotated[str, Field(max_length=64)] = ""
    """Name that this deployment's keys in Redis carry, the same for all its replicas; if not set, the name of its database."""
    db_connection_budget: PositiveInt | None = None
    """Postgres connections of all workers of all replicas; if not set, the server's max_connections less a reserve."""

    cpu_lane_threads: Annotated[int, Field(ge=1, le=64)] = 1
    """CPU jobs that one worker runs at the same time."""
    cpu_lane_queue: NonNegativeInt = 16
    """CPU jobs that may wait in one worker; one more is answered 503."""
    cpu_lane_processes: bool = False
    """Run the CPU lane in processes instead of threads."""
    worker_memory_mb: Annotated[int, Field(ge=32)] = 160
    """Memory planned for one worker, in MiB; all requests that it receives may take a quarter of it."""

    jobs_concurrency: Annotated[int, Field(ge=2)] = 4
    """Jobs that one runner (`python -m service work`) does at the same time."""
    jobs_runners: NonNegativeInt = 1
    """Runners that share the Postgres server; where a feature has jobs, their connections are kept free for them."""
    jobs_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port on which a runner serves its metrics; if not set, it serves none."""

    max_in_flight: PositiveInt = 1000
    """Requests that one worker works on at the same time; one more is answered 503, except health checks such as /livez."""
    max_streams: NonNegativeInt = 2000
    """WebSockets and event streams that one worker holds at the same time; one more is answered 503."""
    ws_max_message_bytes: PositiveInt = 65_536
    """Largest message that a WebSocket takes, in bytes; a larger one closes it with 1009."""
    request_timeout_s: Seconds = 15.0
    """Seconds a request may take before it is answered 503, without the time in which its body arrives."""
    graceful_timeout_s: Annotated[Seconds, Field(ge=1)] = 30.0
    """Seconds a stopping worker may take before it is killed."""
    stop_delay_s: SecondsOrNone = 0.0
    """Seconds a stopping service still accepts connections while /readyz says 503, so that a proxy can look elsewhere."""
    worker_timeout_s: Annotated[Seconds, Field(ge=1)] = 30.0
    """Seconds an event loop may be blocked, or a worker may take to start, before that worker is replaced."""
    keepalive_s: SecondsOrNone = 75.0
    """Seconds an idle connection is kept; more than the proxy in front keeps it."""
    header_timeout_s: Seconds = 10.0
    """Seconds a client may take to send the head of a request."""
    body_timeout_s: Seconds = 30.0
    """Seconds a client may take to send a body."""
    max_requests: NonNegativeInt = 0
    """Requests after which a worker is replaced, without a gap; 0 replaces none."""
    max_requests_jitter: NonNegativeInt = 0
    """Requests added to MAX_REQUESTS, a random number up to this for each worker, so that they are not all replaced at once."""
    max_header_bytes: Annotated[int, Field(ge=1024)] = 32_768
    """Largest head of a request, in bytes."""
    max_body_bytes: NonNegativeInt = 1_048_576
    """Largest body of a request, in bytes."""

    http_timeout_s: Seconds = 5.0
    """Seconds that a call to another service may take, retries included; less where the request has less left."""
    http_connections: PositiveInt = 100
    """Connections that one worker may have to each other service that it calls."""

    api_keys: ApiKeys = ()
    """Keys that may write and list, separated by commas: key, id:key or id:sha256:<hex>; if empty, everybody may."""
    require_secrets: bool = False
    """Refuse to start without API_KEYS, or with a password that is missing or is the user's name."""
    rate_limit: RateLimit = None
    """Requests of one key, or of one address without a key, to the routes that count them, as in 300/minute; not set, no limit."""
    root_path: Prefix = ""
    """Prefix under which a proxy serves this service, as in /shop; addresses that the service returns begin with it."""
    cors_origins: Origins = ()
    """Origins whose pages may call the service from a browser, separated by commas, as in https://app.example; none if empty."""
    trusted_proxies: Annotated[
        Networks, Field(validation_alias=AliasChoices("trusted_proxies", "forwarded_allow_ips"))
    ] = "127.0.0.1,::1"
    """Proxies, as addresses or networks, whose X-Forwarded-For and X-Forwarded-Proto are believed."""

    lab_enabled: bool = False
    """Serve the event-loop laboratory under /lab, with which anybody can overload the server."""
    expose_worker: bool = False
    """Name the worker that answered in X-Worker."""
    loop_blocked_ms: Annotated[int, Field(ge=10)] = 100
    """Milliseconds for which one thing may hold the event loop before that counts as blocked."""
    state_dir: Folder = Path(".local/state")
    """Folder for data that outlives a worker, such as what it has counted and not yet sent on."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged."""
    log_format: Literal["json", "console"] = "json"
    """One JSON object a line, or text for people."""
    access_log_sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of requests that is logged; a request that is answered 5xx or made with a key always is."""

    @property
    def drain_timeout_s(self) -> float:
        """Seconds a stopping worker waits for its requests before it cancels them."""
        return max(0.5, self.graceful_timeout_s - DRAIN_MARGIN_S)

    @model_validator(mode="before")
    @classmethod
    def _add_passwords(cls, values: dict[str, Any]) -> dict[str, Any]:
        password = values.get("database_password")
        names = ("database_url", "database_read_url", "migration_database_url") if isinstance(password, str) else ()
        return values | {name: with_password(values[name], str(password)) for name in names if values.get(name)}

    @model_validator(mode="before")
    @classmethod
    def _trim(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Drop what an editor or `docker run --env-file` leaves around a value. A password keeps its spaces."""
        text = {name: value for name, value in values.items() if isinstance(value, str)}
        trimmed = {name: value.strip() or value for name, value in text.items()}
        if password := text.get("database_password"):
            trimmed["database_password"] = password.rstrip("\r\n")
        return values | trimmed

    @property
    def deployment_name(self) -> str:
        """The name that separates this deployment's keys from those of others in the same Redis."""
        return self.deployment or (self._database.database if self._database else "") or "brigade"

    @property
    def deployment_address(self) -> str:
        """The address that tells two deployments of one name apart while Postgres cannot identify itself."""
        if self.deployment:
            return "named"
        return self._database.digest if self._database else ""

    @property
    def _database(self) -> PostgresUrl | None:
        return read_postgres_url(self.database_url.get_secret_value()) if self.database_url else None

    @property
    def proxies_as_seen(self) -> str:
        """TRUSTED_PROXIES, and each IPv4 network also as a listener of both IP versions sees it (RFC 4291, 2.5.5.2)."""
        if self.trusted_proxies == "*":
            return "*"
        parts = [part.strip() for part in self.trusted_proxies.split(",") if part.strip()]
        ipv4 = [network for network in map(ipaddress.ip_network, parts) if network.version == 4]
        mapped = [f"::ffff:{network.network_address}/{96 + network.prefixlen}" for network in ipv4]
        return ",".join(parts + mapped)

    @model_validator(mode="after")
    def _timeouts_in_order(self) -> "Settings":
        if self.request_timeout_s >= self.drain_timeout_s:
            raise ValueError(
                f"REQUEST_TIMEOUT_S ({self.request_timeout_s:g}) must be at least {DRAIN_MARGIN_S:g} s less than "
                f"GRACEFUL_TIMEOUT_S ({self.graceful_timeout_s:g}), so that a stopping worker can finish its requests"
            )
        return self

    @model_validator(mode="after")
    def _ops_are_somewhere(self) -> "Settings":
        if self.ops_port == self.port:
            raise ValueError(f"OPS_PORT and PORT are both {self.port}: give OPS_PORT another")
        if self.ops_port is None and not self.ops_public:
            raise ValueError(
                "OPS_PUBLIC is off and OPS_PORT is not set: nobody could ask for /metrics, so set OPS_PORT"
            )
        return self

    @model_validator(mode="after")
    def _secrets_are_secret(self) -> "Settings":
        if not self.require_secrets:
            return self
        if not self.api_keys:
            raise ValueError("API_KEYS is not set and REQUIRE_SECRETS is on: give it keys, or everybody may write")
        optional = [name for name in ("database_read_url", "migration_database_url") if getattr(self, name)]
        for name in ("database_url", "redis_url", *optional):
            secret: SecretStr | None = getattr(self, name)
            url = secret.get_secret_value() if secret else ""
            parts = read_postgres_url(url) if url.startswith("postgres") else split_redis_url(url)
            if not parts.password or parts.password == parts.username:
                raise ValueError(f"{name.upper()} has no password, or one that anybody guesses: REQUIRE_SECRETS is on")
        return self
