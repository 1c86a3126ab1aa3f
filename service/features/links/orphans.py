"""The journals of workers that died, for a living worker to send."""

import fcntl
import os
import shutil
import uuid
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from service.features.links.batch import parts


@dataclass(frozen=True)
class Orphan:
    """The journal of a dead worker, locked by us."""

    folder: Path
    batches: dict[int, dict[int, int]]
    """Clicks by sequence number, in order."""
    lock: int

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def release(self) -> None:
        os.close(self.lock)


class UnreadableOrphan(OSError):
    """A journal that this worker cannot read, or that is not its own to read."""

    def __init__(self, folder: Path, error: OSError) -> None:
        super().__init__(str(error))
        self.folder = folder


def name_of_journal(deployment: str) -> str:
    """Return a name that no other journal has. Its suffix tells whose links the clicks are of, if that is known."""
    return uuid.uuid4().hex + _suffix(deployment)


def _suffix(deployment: str) -> str:
    return f".{sha256(deployment.encode()).hexdigest()[:8]}" if deployment else ""


def take_orphan(folder: Path, *, deployment: str = "", except_for: Container[str] = ()) -> Orphan | None:
    """The first journal without an owner. `except_for` names those to leave alone.

    Raises:
        UnreadableOrphan: It is there and cannot be read, or is another deployment's; leave it alone the next time.
    """
    for candidate in _journals(folder):
        if candidate.name in except_for:
            continue
        try:
            orphan = _take(candidate, deployment)
        except OSError as error:
            raise UnreadableOrphan(candidate, error) from error
        if orphan is not None:
            return orphan
    return None


def _journals(folder: Path) -> list[Path]:
    with suppress(OSError):  # the worker's own journal says what is wrong with the folder of all
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    return []


def _take(folder: Path, deployment: str) -> Orphan | None:
    held = lock(folder)
    if held is None:
        return None
    try:
        return Orphan(folder, _read(folder, deployment), held)
    except BaseException:
        os.close(held)
        raise


def _read(folder: Path, deployment: str) -> dict[int, dict[int, int]]:
    """Read a journal whose name has no suffix, or that of this deployment.

    A file whose writer was killed early may be short; one that was never begun has the sequence number 0.

    Raises:
        OSError: It cannot be read, or is of another deployment.
    """
    if folder.suffix not in {"", _suffix(deployment)}:
        raise OSError("another deployment counted them")
    found: dict[int, dict[int, int]] = {}
    for path in folder.iterdir():
        data = path.read_bytes()
        cells = memoryview(data[: len(data) // 16 * 16]).cast("Q")
        if cells and cells[0]:
            found.update(parts(cells))
    return dict(sorted(found.items()))


def is_file_of(descriptor: int, path: Path) -> bool:
    """Say whether the path still leads to what was opened, and not to something that was made in its place."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def lock(folder: Path) -> int | None:
    """None if a living process has locked the folder, or it is gone.

    Raises:
        OSError: It cannot be opened or locked.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor
