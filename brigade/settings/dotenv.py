"""`.env`, read once: a worker that is replaced hours later must not start with what somebody is writing there now."""

import os
from collections.abc import Mapping

from dotenv import dotenv_values

path: str | None = ".env"
"""The file that settings are read from; None in a worker, where the environment has all of it."""


def read() -> dict[str, str]:
    """Return the variables that `.env` adds to the environment: those that are not set there, or are empty."""
    given = {name.lower() for name, value in os.environ.items() if value}
    values = dotenv_values(path) if path else {}
    return {name: value for name, value in values.items() if value and name.lower() not in given}


def keep(values: Mapping[str, str]) -> None:
    """Put what was read into the environment of this process, and never look at the file again."""
    global path  # noqa: PLW0603 - settings are of the process
    path = None
    os.environ.update(values)
