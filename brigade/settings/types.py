"""The types of settings that a plain type does not describe: each refuses what cannot be used, and says what to write."""

import ipaddress
import re
import socket
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from brigade.settings.callers import ApiKey, Rate
from brigade.settings.postgres_url import read_postgres_url
from brigade.settings.redis_url import read_redis_url

LONGEST_S = 1_000_000
"""Seconds that every clock behind a setting can count: Postgres has milliseconds in 31 bits."""


def _every_address(value: str) -> str:
    """Every address of a machine without IPv6 is every IPv4 address."""
    return "0.0.0.0" if value == "::" and not socket.has_dualstack_ipv6() else value


def _is_postgres(value: SecretStr) -> SecretStr:
    read_postgres_url(value.get_secret_value())
    return value


def _is_redis(value: SecretStr) -> SecretStr:
    read_redis_url(value.get_secret_value())
    # The client knows the protocol by one name only.
    return SecretStr(re.sub("^valkey", "redis", value.get_secret_value()))


def _split_keys(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    keys = tuple(ApiKey(entry.strip()) for entry in value.split(",") if entry.strip())
    if not keys:  # `$FIRST,$SECOND` of a shell that knows neither: as "not set", it would let everybody write
        raise ValueError("holds no key: leave it out altogether to let everybody write")
    return keys


def _is_folder(value: Path) -> Path:
    if value.parts[:1] and value.parts[0].startswith("~"):
        raise ValueError("must be written in full: only a shell replaces ~ by a home")
    return value


def _parse_rate(value: Any) -> Any:
    return Rate.parse(value) if isinstance(value, str) else value


def _is_prefix(value: str) -> str:
    prefix = value.rstrip("/")
    if prefix and not re.fullmatch(r"(/[\w.~-]+)+", prefix):
        raise ValueError("must be a path such as /shop")
    return prefix


def _split_origins(value: Any) -> Any:
    """An origin is a scheme, a host and perhaps a port (RFC 6454, 6.2), as browsers send it."""
    if not isinstance(value, str):
        return value
    origins = tuple(entry.strip().lower() for entry in value.split(",") if entry.strip())
    for origin in origins:
        if origin == "*":
            raise ValueError("must name each origin: with * the page of a stranger could use a visitor's key")
        if not re.fullmatch(r"https?://([\w.-]+|\[[0-9a-f:]+\])(:\d{1,5})?", origin):
            raise ValueError(f"has {origin!r}, which is no origin: write scheme://host or scheme://host:port")
    return origins


def _are_networks(value: str) -> str:
    for part in filter(None, map(str.strip, value.split(","))) if value != "*" else ():
        try:
            ipaddress.ip_network(part)  # strict, as uvicorn is, which would believe nobody instead
        except ValueError as error:
            raise ValueError(f"{error} (FORWARDED_ALLOW_IPS is its other name)") from None
    return value


Seconds = Annotated[float, Field(ge=0.001, le=LONGEST_S)]
SecondsOrNone = Annotated[float, Field(ge=0, le=LONGEST_S)]
Host = Annotated[str, AfterValidator(_every_address)]
PostgresAddress = Annotated[SecretStr, AfterValidator(_is_postgres)]
RedisAddress = Annotated[SecretStr, AfterValidator(_is_redis)]
ApiKeys = Annotated[tuple[ApiKey, ...], NoDecode, BeforeValidator(_split_keys)]
RateLimit = Annotated[Rate | None, NoDecode, BeforeValidator(_parse_rate)]
Folder = Annotated[Path, AfterValidator(_is_folder)]
Prefix = Annotated[str, AfterValidator(_is_prefix)]
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_origins)]
Networks = Annotated[str, AfterValidator(_are_networks)]
