"""The files that a process counts in, made with all the room that they need: a full disk is then an error, and no SIGBUS.

Needs no event loop. The master imports this, so it must not import the application.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

SIZES = {"counter": 1 << 16, "gauge_liveall": 1 << 16, "histogram": 1 << 18}
"""Bytes by the kind of file. The sample needs a third of each; prometheus_client makes a file longer where it has to."""

# A reload imports this again, maybe in a master that counts in memory.
_in_files = values.ValueClass if values.ValueClass is not values.MutexValue else values.get_value_class()
log = logging.getLogger("gunicorn.error")


def folder() -> Path | None:
    """None in a process that Gunicorn did not start."""
    path = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(path) if path else None


def begin() -> None:
    """Make the files of this process, or count in its memory where they cannot be made, which no scrape sees."""
    path = folder()
    if path is None:
        return
    files = {path / f"{kind}_{os.getpid()}.db": size for kind, size in SIZES.items()}
    values.ValueClass = _in_files
    try:
        path.mkdir(parents=True, exist_ok=True)
        for file, size in files.items():
            make_room(file, size)
    except OSError as error:
        values.ValueClass = values.MutexValue
        for file in files:
            with suppress(OSError):
                file.unlink()
        log.error("What this process counts is not in /metrics, because its files cannot be made: %s", error)  # noqa: TRY400


def make_room(file: Path, size: int) -> None:
    """Make a file at least so long, without holes.

    Raises:
        OSError: there is no room, or the file cannot be written.
    """
    with file.open("ab", buffering=0) as opened:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(opened.fileno(), 0, size)
        else:  # macOS
            opened.write(bytes(max(0, size - file.stat().st_size)))


def used_bytes(file: Path) -> int:
    """The part of a file that says something."""
    with suppress(OSError), file.open("rb") as opened:
        return int.from_bytes(opened.read(4), "little")
    return 0


def open_sum(sum_file: Path, *, added: Path) -> MmapedDict:
    """Open the file of all the dead, with room for what another file adds.

    Raises:
        OSError: there is no room.
    """
    make_room(sum_file, max(SIZES["counter"], used_bytes(sum_file) + used_bytes(added)))
    return MmapedDict(str(sum_file))
