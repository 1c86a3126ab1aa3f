"""Types of arguments of commands: argparse refuses in a sentence that with which nothing could be measured or kept."""

import math
import os
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

N = TypeVar("N", int, float)


def at_least(kind: Callable[[str], N], least: N) -> Callable[[str], N]:
    """A finite number of this kind that is no less."""

    def read(text: str) -> N:
        try:
            number = kind(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is no {'whole ' * (kind is int)}number") from None
        if not (math.isfinite(number) and number >= least):
            raise ArgumentTypeError(f"{text} is not {least:g} or more")
        return number

    return read


one_or_more = at_least(int, 1)
some_seconds = at_least(float, 0.01)


def kept_folder(text: str) -> Path:
    """A folder to write into, made here, because what takes minutes must not find out at its end that it cannot be kept."""
    folder = Path(text)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentTypeError(f"{text} cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ArgumentTypeError(f"{text} cannot be written")
    return folder
