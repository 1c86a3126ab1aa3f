"""A disk of a few MiB for Postgres to fill, where this machine lets us mount one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from local.process import NOT_ROOT


class Disk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        with suppress(OSError), self._ballast.open("wb", buffering=0) as ballast:
            while ballast.write(b"\0" * 65_536):
                pass

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, *, size_mib: int) -> Iterator[Disk]:
    """Mounted, and Postgres' own.

    Raises:
        subprocess.CalledProcessError: this machine does not let us.
    """
    folder.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "chaos", folder)
    try:
        shutil.chown(folder, NOT_ROOT)
        yield Disk(folder)
    finally:
        _run("umount", "--lazy", folder)  # also under a Postgres that did not end
        folder.rmdir()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Refuse every write by a path. Files that are open already stay writable."""
    _run("mount", "--bind", folder, folder)
    try:
        _run("mount", "-o", "remount,bind,ro", folder)
        yield
    finally:
        _run("umount", "--lazy", folder)


def move(source: Path, target: Path) -> None:
    """To another disk, with the owners of all that is in it."""
    _run("mv", source, target)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


def why_no_disk() -> str:
    """Empty where there can be one."""
    if os.geteuid() != 0:
        return "needs root, to mount a small disk"
    try:
        with TemporaryDirectory() as folder, small_disk(Path(folder) / "disk", size_mib=1):
            return ""
    except (OSError, subprocess.CalledProcessError):
        return "this machine lets nobody mount a disk"
