"""A batch of clicks: pairs of a link's id and its clicks, in a file that is mapped into memory, or in memory alone."""

import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CAPACITY = 4096
"""Links in a new batch (64 KiB), and in each part that Redis is sent. Their clicks need no more room, however many."""

_PAIR_BYTES = 16
_PAGE_BYTES = 4096
_HEAD = 2
"""Words before the first pair: the sequence number of the batch's first part, and an empty one."""


class Batch:
    """Counting is a store of one machine word, which a kill does not tear, and no system call."""

    def __init__(self, path: Path | None, sequence: int = 0) -> None:
        """Use the file `path`, which must not exist, or memory if there is no path.

        Raises:
            OSError: There is no room for the file, or it cannot be made.
        """
        self.path = path
        self.total = 0
        self.capacity = CAPACITY
        self._places: dict[int, int] = {}
        self._cells = _map_new_file(path, _size(CAPACITY)) if path else memoryview(bytearray(_size(CAPACITY))).cast("Q")
        self._cells[0] = sequence
        self._made = path.stat() if path else None

    @property
    def sequence(self) -> int:
        return self._cells[0]

    @property
    def next_sequence(self) -> int:
        """The first sequence number after those of this batch's parts."""
        return self.sequence + max(1, -(-len(self._places) // CAPACITY))

    @property
    def links(self) -> int:
        return len(self._places)

    def begin(self, sequence: int) -> None:
        self._cells[0] = sequence

    @property
    def is_reusable(self) -> bool:
        """Whether it may be used again once it is cleared.

        The kernel writes pages in any order. After a power cut a file of several pages could have a new sequence number in
        one page and, in another, clicks that Redis already has.
        """
        fits_a_page = _size(len(self._places)) <= _PAGE_BYTES
        return self.capacity == CAPACITY and (self.path is None or fits_a_page)

    def add(self, link_id: int) -> bool:
        """Count one click; False if the batch has no room for another link."""
        place = self._places.get(link_id)
        if place is None:
            if len(self._places) >= self.capacity:
                return False
            place = self._places[link_id] = 2 * len(self._places) + _HEAD
            self._cells[place] = link_id
        self._cells[place + 1] += 1
        self.total += 1
        return True

    def grow(self, links: int) -> None:
        """Make room for so many more links.

        Raises:
            OSError: There is no room for the longer file. The batch stays as it was.
        """
        size = _size(self.capacity + links)
        if self.path:
            self._cells = _map_longer_file(self.path, len(self._cells) * 8, size)
        else:
            cells = memoryview(bytearray(size)).cast("Q")
            cells[: len(self._cells)] = self._cells
            self._cells = cells
        self.capacity += links

    def parts(self) -> Iterator[tuple[int, dict[int, int]]]:
        return parts(self._cells[: _HEAD + 2 * len(self._places)])

    def clear(self) -> None:
        """Forget what was counted. A process that dies in between leaves the number 0, which is never sent."""
        used = _HEAD + 2 * len(self._places)
        self._cells[0] = 0
        self._cells[1:used] = memoryview(bytes(8 * (used - 1))).cast("Q")
        self._places.clear()
        self.total = 0

    def is_on_disk(self) -> bool:
        """Whether the clicks outlive this process. False also if somebody has deleted the file, or put another there."""
        with suppress(OSError):
            return self.path is not None and self._made is not None and os.path.samestat(self._made, self.path.stat())
        return False

    def discard(self) -> None:
        if self.path:
            with suppress(OSError):
                self.path.unlink()


def parts(cells: memoryview) -> Iterator[tuple[int, dict[int, int]]]:
    """The clicks of a batch in parts of at most `CAPACITY` links, each with its sequence number.

    Every reader of a batch finds the same parts, so that a part that is sent again has the number it had before.
    """
    for number, start in enumerate(range(_HEAD, len(cells), 2 * CAPACITY)):
        words = cells[start : start + 2 * CAPACITY].tolist()
        clicks = {link_id: count for link_id, count in zip(words[::2], words[1::2], strict=True) if count}
        if clicks:
            yield cells[0] + number, clicks


def _size(capacity: int) -> int:
    return _HEAD * 8 + capacity * _PAIR_BYTES


def _map_new_file(path: Path, size: int) -> memoryview:
    with path.open("xb", buffering=0):
        pass
    try:
        return _map_longer_file(path, 0, size)
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise


def _map_longer_file(path: Path, old_size: int, size: int) -> memoryview:
    """Write zeros first: a full disk is then an error here, and not a SIGBUS when a click is stored."""
    with path.open("rb+", buffering=0) as file:
        try:
            file.seek(old_size)
            zeros = memoryview(bytes(size - old_size))
            while zeros:
                zeros = zeros[file.write(zeros) :]
            return memoryview(mmap.mmap(file.fileno(), size)).cast("Q")
        except (OSError, ValueError) as error:
            with suppress(OSError):
                os.ftruncate(file.fileno(), old_size)
            raise error if isinstance(error, OSError) else OSError(str(error)) from error
