"""Clicks in files that outlive the process, kill -9 included, until Redis has them. Sends nothing anywhere.

A worker has a folder, locked while it lives; a batch of clicks is a file in it. Folder and sequence number are the id
that makes sending a batch twice harmless. The file is mapped into memory, so counting is a store (135 ns) and no
system call.
"""

import fcntl
import itertools
import mmap
import os
import shutil
import struct
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CAPACITY = 4096
"""Links in one batch, 64 KiB; their clicks need no more room, however many."""

_PAIR = struct.Struct("=QQ")


class Batch:
    """In the file: its sequence number and an empty word, then pairs of a link's id and its clicks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.total = 0
        with path.open("xb+") as file:
            file.write(bytes((CAPACITY + 1) * _PAIR.size))  # a full disk is an error here, and would be a SIGBUS later
            file.flush()
            self._cells = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
        self._places: dict[int, int] = {}

    @property
    def sequence(self) -> int:
        return self._cells[0]

    def begin(self, sequence: int) -> None:
        self._cells[0] = sequence

    def add(self, link_id: int) -> bool:
        """False where the batch is full. Each store is one machine word, which a kill does not tear."""
        place = self._places.get(link_id)
        if place is None:
            if len(self._places) == CAPACITY:
                return False
            place = self._places[link_id] = 2 * len(self._places) + 2
            self._cells[place] = link_id
        self._cells[place + 1] += 1
        self.total += 1
        return True

    def clicks(self) -> dict[int, int]:
        return {link_id: self._cells[place + 1] for link_id, place in self._places.items()}


class Journal:
    """Opening, `prepare` and `close` touch the disk and belong in a thread; the rest belongs in the event loop."""

    def __init__(self, folder: Path) -> None:
        self.id = uuid.uuid4().hex
        self.folder = folder / self.id
        unnamed = folder / f".{self.id}"
        unnamed.mkdir(parents=True)
        self._lock = _lock(unnamed)
        unnamed.rename(self.folder)  # locked before it has its name: never seen without an owner
        self._names = itertools.count()
        self._sequences = itertools.count(1)
        self.sealed: list[Batch] = []
        self.active = self._new_batch()
        self.active.begin(next(self._sequences))
        self._spare: Batch | None = None

    def _new_batch(self) -> Batch:
        return Batch(self.folder / f"{next(self._names)}")

    def prepare(self) -> None:
        """Have a file ready for the next `seal`."""
        self._spare = self._spare or self._new_batch()

    def add(self, link_id: int) -> None:
        if not self.active.add(link_id):
            self.seal()
            self.active.add(link_id)

    def seal(self) -> None:
        """Count into the next batch from now on."""
        successor, self._spare = self._spare or self._new_batch(), None
        successor.begin(next(self._sequences))
        self.sealed.append(self.active)
        self.active = successor

    @property
    def pending(self) -> int:
        return self.active.total + sum(batch.total for batch in self.sealed)

    def close(self) -> None:
        """Clicks that are still pending are left to whoever finds the folder without an owner."""
        if not self.pending:
            shutil.rmtree(self.folder)
        if self._lock is not None:
            os.close(self._lock)


@dataclass(frozen=True)
class Orphan:
    """The journal of a dead worker, locked by us."""

    folder: Path
    batches: Mapping[int, Mapping[int, int]]
    """Clicks by sequence number, in order."""
    lock: int

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def release(self) -> None:
        os.close(self.lock)


def take_orphan(folder: Path) -> Orphan | None:
    for candidate in folder.glob("[!.]*"):
        lock = _lock(candidate)
        if lock is not None:
            return Orphan(candidate, dict(sorted(_read(path) for path in candidate.iterdir())), lock)
    return None


def _read(path: Path) -> tuple[int, dict[int, int]]:
    """A file whose writer was killed early may be short; one that was never begun has the sequence number 0."""
    data = path.read_bytes()
    pairs = list(_PAIR.iter_unpack(data[: len(data) // _PAIR.size * _PAIR.size]))
    return pairs[0][0] if pairs else 0, {link_id: clicks for link_id, clicks in pairs[1:] if clicks}


def _lock(folder: Path) -> int | None:
    """None where a living process has it, or it is gone."""
    with suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return descriptor
    return None
