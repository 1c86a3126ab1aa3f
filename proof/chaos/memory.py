"""A control group without memory to give, where this machine lets us make one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOM_BYTES = 65_536


def own_group() -> Path | None:
    """Return our cgroup of version 1, which has a tree for memory alone, or None if we may not write there."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        group = Path(f"/sys/fs/cgroup/memory{path}")
        if controllers == "memory" and os.access(group, os.W_OK):
            return group
    return None


@contextmanager
def no_room(pid: int) -> Iterator[None]:
    """Leave the process `ROOM_BYTES` for what it allocates from now on."""
    own = own_group()
    assert own is not None
    group = own / f"chaos-{pid}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(ROOM_BYTES))
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for left in (group / "cgroup.procs").read_text().split():
            (own / "cgroup.procs").write_text(left)
        group.rmdir()


def why_no_group() -> str:
    """Empty where there can be one."""
    return "" if own_group() else "needs a control group of version 1 that is ours to write in"
