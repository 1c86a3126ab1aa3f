"""Reads a thread's stack from outside it: whose line is running, and for which request. Changes nothing it reads."""

import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

from brigade.web.observe import Request, request_on

ROOT = f"{Path(__file__).parents[3]}/"
STDLIB = f"{sysconfig.get_path('stdlib')}/"
LAYERS = tuple(
    f"{ROOT}brigade/{name}.py"
    for name in (
        "web/observe",
        "web/hot",
        "web/shortcuts",
        "web/guards",
        "lanes",
        "server/server",
        "server/protocol",
        "server/admission",
        "telemetry/loop_watch/__init__",
    )
)
"""On every request's stack, so they say nothing about who is at fault."""


@dataclass(frozen=True)
class Place:
    file: str
    line: int
    function: str


@dataclass(frozen=True)
class Look:
    """What one glance at the loop's thread found; `place` is None while the loop itself waits for work."""

    at_s: float
    place: Place | None
    instruction: tuple[int, int]
    request: Request | None


def look(frame: FrameType, *, at_s: float, loop_code: CodeType | None) -> Look:
    frames = list(stack(frame, loop_code))
    instruction = (id(frame.f_code), frame.f_lasti)
    request = next(filter(None, map(request_on, reversed(frames))), None)
    return Look(at_s, place_of(frames), instruction, request)


def stack(frame: FrameType | None, loop_code: CodeType | None = None) -> Iterable[FrameType]:
    """From the innermost call out to what the loop called."""
    while frame is not None and frame.f_code is not loop_code:
        yield frame
        frame = frame.f_back


def place_of(frames: Iterable[FrameType]) -> Place | None:
    """The innermost line of the application; where there is none, of a library; else the innermost of all."""
    frames = list(frames)
    for is_candidate in (is_own, _is_third_party, lambda _: True):
        for frame in frames:
            if is_candidate(frame):
                return Place(_short(frame.f_code.co_filename), frame.f_lineno, frame.f_code.co_qualname)
    return None


def is_own(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return file.startswith(ROOT) and "site-packages" not in file and file not in LAYERS


def _is_third_party(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return "site-packages" in file or not file.startswith((STDLIB, ROOT, "<"))


def _short(file: str) -> str:
    return file.rpartition("site-packages/")[2].removeprefix(ROOT)
