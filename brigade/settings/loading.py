"""Reads the settings from the environment, from `.env`, and from the files that `NAME_FILE` names."""

import os
from pathlib import Path
from typing import Any, TypeVar, overload

from pydantic import ValidationError

from brigade.settings import dotenv
from brigade.settings.variables import Settings

S = TypeVar("S", bound=Settings)


class ConfigurationError(Exception):
    """A setting that cannot be used. The message is one sentence and names the variable to change."""


def _from_files(kind: type[Settings]) -> dict[str, Any]:
    """Return values from `NAME_FILE` for every `NAME` that is not set. Compose and Swarm pass secrets this way."""
    try:
        added = {name.upper(): value for name, value in dotenv.read().items()}
    except ValueError as error:
        raise ConfigurationError(f"{error}.") from None
    values, given = {}, {name.upper(): value for name, value in os.environ.items() if value}
    for name in kind.model_fields:
        variable = f"{name.upper()}_FILE"
        path = given.get(variable) or added.get(variable)
        if not path:
            continue
        try:
            value = Path(path).read_text("utf-8-sig").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{variable} names a file that cannot be read: {error}.") from None
        if not value.strip():  # taken for "not set", it would open to everybody what API_KEYS_FILE was to close
            raise ConfigurationError(f"{variable} names an empty file: {path}.")
        if not (given.get(name.upper()) or (added.get(name.upper()) and not given.get(variable))):
            values[name] = value
    return values


@overload
def load_settings() -> Settings: ...
@overload
def load_settings(kind: type[S]) -> S: ...
def load_settings(kind: type[Settings] = Settings) -> Settings:
    """Read the environment.

    Raises:
        ConfigurationError: a variable cannot be used; the message names it.
    """
    try:
        return kind(_env_file=dotenv.path, **_from_files(kind))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        variable = "_".join(str(part) for part in first["loc"][:1]).upper()
        secret = variable == "API_KEYS" or variable.endswith(("DATABASE_URL", "READ_URL", "REDIS_URL"))
        secret |= "@" in str(first["input"])  # as in a URL with a password
        shown = "" if secret or not variable or repr(first["input"]) in message else f", not {first['input']!r}"
        raise ConfigurationError(f"{variable}: {message}{shown}." if variable else f"{message}.") from None
