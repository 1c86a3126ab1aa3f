"""The CPUs and the memory that this process may use, as cgroups and affinity allow.

This module reads files and decides nothing; `root` lets a test hand over a recorded tree.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

UNLIMITED_BYTES = 1 << 60
"""The limit that means none: cgroup v1 writes "no limit" as the largest page-aligned integer; no machine has an exbibyte."""


@dataclass(frozen=True)
class Limits:
    """A source is a word, and for a cgroup the file that held the limit: `cgroup /sys/fs/cgroup/cpu.max`."""

    cpus: float
    cpus_source: str
    memory_bytes: int | None
    memory_source: str


def read_limits(root: Path = Path("/"), *, affinity: int | None = None) -> Limits:
    """The tightest of affinity, every enclosing cgroup and the memory of the machine."""
    cpus: list[tuple[float, str]] = [(affinity or _affinity(), "affinity")]
    memory: list[tuple[int, str]] = [(total, "machine") for total in _memory_total(root)]
    for folder in _cgroup_folders(root):
        source = "cgroup /" + str(folder.relative_to(root))
        cpus += [(quota, f"{source}/{name}") for quota, name in _cpu_quota(folder)]
        memory += [(size, f"{source}/{name}") for size, name in _memory_limit(folder)]
    # On a tie the first wins: affinity and the machine are the plainer answers.
    fewest, cpus_source = min(cpus, key=lambda entry: entry[0])
    smallest, memory_source = min(memory, key=lambda entry: entry[0], default=(None, "unknown"))
    return Limits(fewest, cpus_source, smallest, memory_source)


def read_throttling(root: Path = Path("/")) -> tuple[int, int, float]:
    """Periods, periods throttled and seconds throttled of the innermost cgroup that counts them."""
    for folder in _cgroup_folders(root):
        counts = dict(re.findall(r"^(\w+) (\d{1,20})$", _read(folder / "cpu.stat"), re.MULTILINE))
        if "nr_throttled" in counts:
            seconds = int(counts.get("throttled_usec", 0)) / 1e6 + int(counts.get("throttled_time", 0)) / 1e9
            return int(counts["nr_periods"]), int(counts["nr_throttled"]), seconds
    return 0, 0, 0.0


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS: it has neither affinity nor cgroups


def _memory_total(root: Path) -> Iterator[int]:
    if found := re.search(r"^MemTotal:\s+(\d{1,20}) kB", _read(root / "proc/meminfo"), re.MULTILINE):
        yield int(found[1]) * 1024


def _cgroup_folders(root: Path) -> Iterator[Path]:
    """The process's cgroup and its ancestors, in each hierarchy that limits CPU or memory, innermost first."""
    paths = [line.split(":", 2) for line in _read(root / "proc/self/cgroup").splitlines() if line.count(":") >= 2]
    for controllers, mount_root, mount_point in _cgroup_mounts(root):
        for _, names, path in paths:
            if controllers & set(names.split(",")):
                inside = _inside(path, mount_root)
                yield from (root / mount_point.lstrip("/") / folder for folder in (inside, *inside.parents))


def _cgroup_mounts(root: Path) -> Iterator[tuple[set[str], str, str]]:
    """The controllers, the root and the place of each mount; v2 has no names, as in its line of /proc/self/cgroup."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        place, _, kind = line.partition(" - ")
        where, what = place.split(), kind.split()
        if len(where) < 5 or len(what) < 3:
            continue
        mount_root, mount_point = map(_unescape, where[3:5])
        if what[0] == "cgroup2":
            yield {""}, mount_root, mount_point
        elif what[0] == "cgroup" and (controllers := {"cpu", "memory"} & set(what[2].split(","))):
            yield controllers, mount_root, mount_point


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)


def _inside(path: str, mount_root: str) -> PurePosixPath:
    """Return the path at which the mount shows a cgroup, or its top if the cgroup is outside, as in a namespace."""
    cgroup = PurePosixPath(path)
    shown = cgroup.is_relative_to(mount_root) and ".." not in cgroup.parts
    return cgroup.relative_to(mount_root) if shown else PurePosixPath()


def _cpu_quota(folder: Path) -> Iterator[tuple[float, str]]:
    v1 = f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}"
    for text, name in ((_read(folder / "cpu.max"), "cpu.max"), (v1, "cpu.cfs_quota_us")):
        if (found := re.fullmatch(r"(\d{1,20})\s+(\d{1,20})", text.strip())) and int(found[1]) and int(found[2]):
            yield int(found[1]) / int(found[2]), name


def _memory_limit(folder: Path) -> Iterator[tuple[int, str]]:
    for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
        found = re.fullmatch(r"\d{1,20}", _read(folder / name).strip())
        if found and 0 < int(found[0]) < UNLIMITED_BYTES:
            yield int(found[0]), name


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except (OSError, ValueError):  # ValueError: a path with a null byte
        return ""
