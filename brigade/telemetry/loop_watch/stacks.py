"""Reads a thread's stack from outside it: whose line is running. Changes nothing it reads."""

import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

from brigade.telemetry.under_way import Request

ENGINE = f"{Path(__file__).parents[2]}/"
PACKAGES = ("/site-packages/", "/dist-packages/")
STDLIB = f"{sysconfig.get_path('stdlib')}/"

_layers: list[str] = []
_experiments: list[str] = []


def is_layer(path: str) -> None:
    """Register a file or folder that is on every request's stack, and so says nothing about the cause."""
    _layers.append(path)


def is_experiment(folder: str) -> None:
    """Register a folder of the engine whose code is at fault on purpose, and is named as the project's own is."""
    _experiments.append(folder)


@dataclass(frozen=True)
class Place:
    file: str
    line: int
    function: str


@dataclass(frozen=True)
class Look:
    """The result of one look at the loop's thread; `place` is None while the loop itself waits for work."""

    at_s: float
    place: Place | None
    instruction: tuple[int, int]
    request: Request | None


def look(frame: FrameType, *, at_s: float, loop_code: CodeType | None, request: Request | None) -> Look:
    return Look(at_s, place_of(stack(frame, loop_code)), (id(frame.f_code), frame.f_lasti), request)


def stack(frame: FrameType | None, loop_code: CodeType | None = None) -> Iterable[FrameType]:
    """Yield the calls from the innermost one out to the one that the loop made."""
    while frame is not None and frame.f_code is not loop_code:
        yield frame
        frame = frame.f_back


def place_of(frames: Iterable[FrameType]) -> Place | None:
    """The innermost line of the project; where there is none, of the engine or a library; else the innermost of all."""
    frames = list(frames)
    candidates: tuple[Callable[[FrameType], bool], ...] = (is_own, _is_at_work, lambda _: True)
    for is_candidate in candidates:
        for frame in frames:
            if is_candidate(frame):
                return Place(_short(frame.f_code.co_filename), frame.f_lineno, frame.f_code.co_qualname)
    return None


def is_own(frame: FrameType) -> bool:
    """Whether it is the project's: neither the engine's, nor of an installed package, nor Python's."""
    file = frame.f_code.co_filename
    if file.startswith(ENGINE):
        return file.startswith(tuple(_experiments))
    return not (file.startswith((STDLIB, "<")) or any(folder in file for folder in PACKAGES))


def _is_at_work(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return not file.startswith((STDLIB, "<", *_layers))


def _short(file: str) -> str:
    """Shorten a path to what follows the folder of packages, or the engine's folder, which is the root unless installed."""
    for folder in PACKAGES:
        file = file.rpartition(folder)[2]
    return file.removeprefix(ENGINE.removesuffix("brigade/"))
