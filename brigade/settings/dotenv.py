"""`.env`, read once: a worker that is replaced hours later must not start with what somebody is writing there now."""

import os
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

REFERENCE = re.compile(r"\$\{([^}:]*)\}")
"""A variable that python-dotenv replaces, by nothing where nobody has set it."""

path: str | None = ".env"
"""The file that settings are read from; None in a worker, where the environment has all of it."""


def read() -> dict[str, str]:
    """Return the variables that `.env` adds to the environment: those that are not set there, or are empty.

    Raises:
        ValueError: The file cannot be read, or a line of it would be lost in whole or in part: it may be the one with the keys.
    """
    given = {name.lower() for name, value in os.environ.items() if value}
    values = dotenv_values(stream=StringIO(_text(path))) if path else {}
    return {name: value for name, value in values.items() if value and name.lower() not in given}


def _text(path: str) -> str:
    try:
        text = Path(path).read_text("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    known = set(os.environ)
    for line in parse_stream(StringIO(text)):
        if line.error:
            raise ValueError(f"{path} has a line {line.original.line} that cannot be read: write NAME=value")
        if unknown := set(REFERENCE.findall(line.value or "")) - known:
            raise ValueError(
                f"{path} has a ${{{min(unknown)}}} in line {line.original.line}, and nothing sets {min(unknown)}: "
                f"set it, or write the value into a file that {line.key}_FILE names"
            )
        known.add(line.key or "")
    return text


def keep(values: Mapping[str, str]) -> None:
    """Put what was read into the environment of this process, and never look at the file again."""
    global path  # noqa: PLW0603 - settings are of the process
    path = None
    os.environ.update(values)
