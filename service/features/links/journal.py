"""Clicks that Redis has not confirmed, in files that outlive the process, kill -9 included. Sends nothing anywhere.

A worker has a folder, locked while it lives; a batch of clicks is a file in it. The folder's name, which ends with a digest
of the deployment's, and a sequence number are the id that makes sending clicks twice harmless. A worker counts into one
batch while it sends another, and uses the files in turn. While Redis is away the batch that it counts into grows. What the
disk refuses is counted in memory.
"""

import os
import shutil
import threading
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

from service.features.links.batch import CAPACITY, Batch
from service.features.links.orphans import is_file_of, lock, name_of_journal

MOST_LINKS = 64 * CAPACITY
"""Links in all batches of a worker: 4 MiB of files and 30 MB of memory. Clicks on further links are lost, and counted."""
RETRY_DISK_S = 5.0


class Journal:
    """Opening, `renew`, `grow_ahead` and `close` touch the disk and belong in a thread; the rest belongs in the event loop."""

    def __init__(self, folder: Path, *, deployment: str = "") -> None:
        self.id = name_of_journal(deployment)
        self.folder = folder / self.id
        self.lost = 0
        """Clicks for which there was no room, or that only this process knew when it ended."""
        self.disk_error: OSError | None = None
        """Why clicks are kept in memory only, so that a kill would lose them."""
        self.sealed: list[Batch] = []
        self.spare: Batch | None = None
        self._lock: int | None = None
        self._opening = threading.Lock()
        self._growing = threading.Lock()
        self._retry_disk_at = 0.0
        self._names = count()
        self.active = self._new_batch()
        self.active.begin(1)

    @property
    def pending(self) -> int:
        return self.active.total + sum(batch.total for batch in self.sealed)

    def add(self, link_id: int) -> None:
        """Count a click. It raises nothing that the disk does, because an answer is on its way."""
        if not self.active.add(link_id) and not (self._make_room() and self.active.add(link_id)):
            self.lost += 1

    def _make_room(self) -> bool:
        """Seal a full batch, or let it grow while another one waits for Redis and `grow_ahead` has not come in time."""
        if not self.sealed:
            self.seal()
            return True
        if self._room() <= 0:
            return False
        if not self._grow(self.active, CAPACITY):
            self.seal()
        return True

    def grow_ahead(self) -> None:
        """Make room before the batch is full, while another one waits for Redis.

        Both mappings of a file show the same bytes, so clicks may be counted meanwhile. Memory would be copied, so a batch
        in memory grows in the event loop.
        """
        batch = self.active
        if self.sealed and batch.path and batch.capacity - batch.links < CAPACITY // 2:
            self._grow(batch, batch.capacity)

    def _grow(self, batch: Batch, links: int) -> bool:
        """Whether there is more room now. There is not while another thread sees to that."""
        room = min(links, self._room())
        if room <= 0 or not self._growing.acquire(blocking=False):
            return False
        try:
            batch.grow(room)
        except OSError as error:
            self._keep_off_disk(error)
            return False
        finally:
            self._growing.release()
        return True

    def _room(self) -> int:
        return MOST_LINKS - self.active.links - sum(batch.links for batch in self.sealed)

    def seal(self) -> None:
        """Count into the next batch from now on."""
        successor, self.spare = self.spare or self._new_batch(), None
        successor.begin(self.active.next_sequence)
        self.sealed.append(self.active)
        self.active = successor

    def take_spare(self) -> Batch | None:
        spare, self.spare = self.spare, None
        return spare

    def renew(self, spare: Batch | None) -> Batch:
        """The batch to count into next: `spare`, unless it is missing or could be on the disk and is not."""
        if spare is None or (not spare.is_on_disk() and self._may_try_disk()):
            return self._new_batch()
        return spare

    def confirm(self) -> Batch | None:
        """Redis has the oldest sealed batch. What is returned is to be discarded, in a thread."""
        batch = self.sealed.pop(0)
        reusable = batch.is_reusable
        batch.clear()
        if self.spare is None and reusable:
            self.spare = batch
            return None
        return batch

    def close(self) -> None:
        """Leave clicks that are still pending to the worker that finds the folder without an owner."""
        kept = sum(batch.total for batch in (*self.sealed, self.active) if batch.is_on_disk())
        self.lost += self.pending - kept
        if not kept:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._unlock()

    def _new_batch(self) -> Batch:
        """Make a batch: in memory while the disk refuses, or while another thread waits for it."""
        if self._may_try_disk() and self._opening.acquire(blocking=False):
            try:
                self._open_folder()
                batch = Batch(self.folder / str(next(self._names)))
            except OSError as error:
                self._keep_off_disk(error)
            else:
                self.disk_error = None
                return batch
            finally:
                self._opening.release()
        return Batch(None)

    def _may_try_disk(self) -> bool:
        return time.monotonic() >= self._retry_disk_at

    def _keep_off_disk(self, error: OSError) -> None:
        self.disk_error = error
        self._retry_disk_at = time.monotonic() + RETRY_DISK_S

    def _open_folder(self) -> None:
        """It is locked before it has its name, so that nobody ever sees it without an owner."""
        if self._lock is not None and is_file_of(self._lock, self.folder):
            return
        self._unlock()
        unnamed = self.folder.with_name(f".{self.id}")
        unnamed.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = lock(unnamed)
            unnamed.rename(self.folder)
        except OSError:
            self._unlock()
            with suppress(OSError):
                unnamed.rmdir()
            raise

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
