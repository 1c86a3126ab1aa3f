"""The modules that the master imports before it forks, so that workers share its memory and start sooner."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from brigade.settings import ConfigurationError

FILE = "preload.txt"


def names(features: Path) -> Iterator[str]:
    """The packages that features list in their `preload.txt`, one a line; the master never imports a feature's code.

    Raises:
        ConfigurationError: A package is not installed.
    """
    for file in sorted(features.glob(f"*/{FILE}")):
        for name in file.read_text().split():
            if find_spec(name.partition(".")[0]) is None:
                raise ConfigurationError(f"{file} lists {name}, which is not installed.")
            yield name
