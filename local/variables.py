"""The variables that a local run adds to the environment and `.env`. The service checks them, and this module does not."""

import os
from collections.abc import Mapping
from types import MappingProxyType

from dotenv import dotenv_values

from local.places import LOCAL, ROOT
from local.process import LocalError

DEFAULTS = {
    "EXPOSE_WORKER": "1",
    "LAB_ENABLED": "1",
    "LOG_FORMAT": "console",
    "STATE_DIR": str(LOCAL / "state"),
}

STOP_MARGIN_S = 15.0


def lookup(name: str, default: str = "") -> str:
    """The service's own order: an empty variable is none, and the environment goes before `.env`. Names may be in any case."""
    try:
        sources = (os.environ, dotenv_values(ROOT / ".env"))
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f".env cannot be read: {error}.") from None
    found = (value.strip() for source in sources for key, value in source.items() if value and key.upper() == name)
    return next(filter(None, found), default)


def is_set(name: str) -> bool:
    return bool(lookup(name) or lookup(f"{name}_FILE"))


def environment(more: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Return the variables of the shell, and the defaults of a local run and `more` where nothing else is set."""
    defaults = {name: value for name, value in {**DEFAULTS, **more}.items() if not is_set(name)}
    return {**(os.environ if is_set("DATABASE_URL") else without_libpq(os.environ)), **defaults}


def without_libpq(variables: Mapping[str, str]) -> dict[str, str]:
    """Without PGSSLMODE, PGSERVICE and their like, which say how to reach some other Postgres than our own."""
    return {name: value for name, value in variables.items() if not name.startswith("PG")}


def stop_timeout_s() -> float:
    """Return the seconds after which a service that was told to stop is frozen, because by itself it takes less."""
    try:
        return float(lookup("GRACEFUL_TIMEOUT_S", "30")) + float(lookup("STOP_DELAY_S", "0")) + STOP_MARGIN_S
    except ValueError:
        return STOP_MARGIN_S  # the service refuses such a value and never starts


def address() -> tuple[str, int]:
    """Return the address on which the service will listen."""
    port = lookup("PORT", "8000")
    if not port.isdecimal():
        raise LocalError(f"PORT is a number from 1 to 65535, not {port!r}.")
    return lookup("HOST", "127.0.0.1"), int(port)
