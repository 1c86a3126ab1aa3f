"""Recorded trees of /proc and /sys: what the kernel shows in each of the places this service runs in."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brigade.sizing.limits import Limits, read_limits

MIB = 1024**2
GIB = 1024**3
SIXTEEN_GIB = "MemTotal:       16777216 kB\nMemFree:         1000000 kB\n"
V2_MOUNT = "29 22 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "33 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:15 - cgroup cgroup rw,cpu,cpuacct\n"
    "36 25 0:32 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:18 - cgroup cgroup rw,memory\n"
)
V1_UNLIMITED = "9223372036854771712\n"

Tree = Callable[[dict[str, str]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    def write(files: dict[str, str]) -> Path:
        for name, text in ({"proc/meminfo": SIXTEEN_GIB} | files).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def v2(cgroup: str, files: dict[str, str]) -> dict[str, str]:
    limits = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    return {"proc/self/cgroup": f"0::{cgroup}\n", "proc/self/mountinfo": V2_MOUNT} | limits


@pytest.mark.parametrize(
    ("cpu_max", "cpus"),
    [
        ("150000 100000\n", 1.5),
        ("300000 100000\n", 3.0),
        ("50000 100000\n", 0.5),
        ("25000 50000", 0.5),
        ("max 100000\n", 8.0),
        ("1600000 100000\n", 8.0),
    ],
)
def test_cpus_are_the_lesser_of_quota_and_affinity(tree: Tree, cpu_max: str, cpus: float) -> None:
    root = tree(v2("/", {"cpu.max": cpu_max}))
    assert read_limits(root, affinity=8).cpus == cpus


@pytest.mark.parametrize(
    ("most", "high", "source"),
    [("max", 200, "memory.high"), (300, 200, "memory.high"), (200, 300, "memory.max"), (200, "max", "memory.max")],
)
def test_memory_above_which_the_kernel_throttles_is_a_limit(
    most: int | str, high: int | str, source: str, tree: Tree
) -> None:
    files = {"memory.max": most, "memory.high": high}
    root = tree(v2("/", {name: f"{value if value == 'max' else int(value) * MIB}\n" for name, value in files.items()}))
    limits = read_limits(root, affinity=8)
    assert (limits.memory_bytes, limits.memory_source) == (200 * MIB, f"cgroup /sys/fs/cgroup/{source}")


def test_container_with_a_namespace_of_its_own_reads_the_root_of_its_mount(tree: Tree) -> None:
    files = {"cpu.max": "200000 100000\n", "memory.max": f"{GIB}\n"}
    limits = read_limits(tree(v2("/", files)), affinity=8)
    assert limits == Limits(2.0, "cgroup /sys/fs/cgroup/cpu.max", GIB, "cgroup /sys/fs/cgroup/memory.max")


def test_tightest_ancestor_bounds_a_nested_group(tree: Tree) -> None:
    pod = "kubepods.slice/kubepods-burstable.slice"
    files = {
        f"{pod}/cri-1.scope/cpu.max": "400000 100000\n",
        f"{pod}/cri-1.scope/memory.max": "max\n",
        f"{pod}/cpu.max": "150000 100000\n",
        f"{pod}/memory.max": f"{2 * GIB}\n",
        "kubepods.slice/cpu.max": "max 100000\n",
    }
    limits = read_limits(tree(v2(f"/{pod}/cri-1.scope", files)), affinity=8)
    assert limits.cpus == 1.5
    assert limits.cpus_source == f"cgroup /sys/fs/cgroup/{pod}/cpu.max"
    assert limits.memory_bytes == 2 * GIB


def test_sibling_group_does_not_count(tree: Tree) -> None:
    files = {"mine/cpu.max": "400000 100000\n", "other/cpu.max": "10000 100000\n"}
    assert read_limits(tree(v2("/mine", files)), affinity=8).cpus == 4.0


def test_cgroup_v1_reads_each_controller_where_it_is_mounted(tree: Tree) -> None:
    group = "system.slice/brigade.service"
    root = tree(
        {
            "proc/self/cgroup": f"12:memory:/{group}\n4:cpu,cpuacct:/{group}\n1:name=systemd:/{group}\n",
            "proc/self/mountinfo": V1_MOUNTS,
            f"sys/fs/cgroup/cpu,cpuacct/{group}/cpu.cfs_quota_us": "300000\n",
            f"sys/fs/cgroup/cpu,cpuacct/{group}/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            f"sys/fs/cgroup/memory/{group}/memory.limit_in_bytes": V1_UNLIMITED,
            "sys/fs/cgroup/memory/system.slice/memory.limit_in_bytes": f"{GIB}\n",
        }
    )
    limits = read_limits(root, affinity=8)
    assert limits.cpus == 3.0
    assert limits.memory_bytes == GIB


def test_cgroup_v1_container_without_a_namespace_sees_its_group_as_the_mount(tree: Tree) -> None:
    """The path of the process is the host's, and the mount shows only the part below the container's own group."""
    group = "/docker/3f2a"
    root = tree(
        {
            "proc/self/cgroup": f"4:cpu,cpuacct:{group}\n12:memory:{group}\n",
            "proc/self/mountinfo": V1_MOUNTS.replace(" / /sys", f" {group} /sys"),
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456\n",
        }
    )
    limits = read_limits(root, affinity=8)
    assert limits.cpus == 0.5
    assert limits.memory_bytes == 268435456


def test_hybrid_takes_the_limits_of_both_versions(tree: Tree) -> None:
    v2_mount = V2_MOUNT.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    root = tree(
        {
            "proc/self/cgroup": "4:memory:/jobs/7\n1:cpu,cpuacct:/\n0::/jobs/7\n",
            "proc/self/mountinfo": V1_MOUNTS + v2_mount,
            "sys/fs/cgroup/memory/jobs/7/memory.limit_in_bytes": f"{GIB}\n",
            "sys/fs/cgroup/unified/jobs/cpu.max": "250000 100000\n",
        }
    )
    limits = read_limits(root, affinity=8)
    assert limits.cpus == 2.5
    assert limits.memory_bytes == GIB


def test_group_outside_the_namespace_falls_back_to_what_the_mount_shows(tree: Tree) -> None:
    files = v2("/../../other", {"cpu.max": "200000 100000\n"})
    assert read_limits(tree(files), affinity=8).cpus == 2.0


def test_mount_of_another_group_is_not_searched_for_a_folder_of_the_same_name(tree: Tree) -> None:
    root = tree(
        {
            "proc/self/cgroup": "0::/docker/mine/inner\n",
            "proc/self/mountinfo": V2_MOUNT.replace(" / /sys", " /docker/other /sys"),
            "sys/fs/cgroup/inner/cpu.max": "10000 100000\n",
            "sys/fs/cgroup/cpu.max": "200000 100000\n",
        }
    )
    assert read_limits(root, affinity=8).cpus == 2.0


def test_mount_point_with_a_space_is_found(tree: Tree) -> None:
    root = tree(
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": V2_MOUNT.replace("/sys/fs/cgroup", "/mnt/c\\040group"),
            "mnt/c group/cpu.max": "100000 100000\n",
        }
    )
    assert read_limits(root, affinity=8).cpus == 1.0


def test_affinity_bounds_a_looser_quota(tree: Tree) -> None:
    limits = read_limits(tree(v2("/", {"cpu.max": "400000 100000\n"})), affinity=2)
    assert (limits.cpus, limits.cpus_source) == (2, "affinity")


def test_no_cgroup_leaves_affinity_and_the_memory_of_the_machine(tree: Tree) -> None:
    assert read_limits(tree({}), affinity=3) == Limits(3, "affinity", 16 * GIB, "machine")


def test_empty_root_still_gives_cpus(tmp_path: Path) -> None:
    limits = read_limits(tmp_path)
    assert limits.cpus >= 1
    assert limits.memory_bytes is None


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "\n",
        "max",
        "max max",
        "-1",
        "0 100000",
        "100000 0",
        "a b",
        "1 2 3",
        "\x00\xff",
        "9" * 5000,
        f"{'9' * 400} 1",
    ],
)
def test_malformed_limits_are_ignored(tree: Tree, nonsense: str) -> None:
    root = tree(v2("/", {"cpu.max": nonsense, "memory.max": nonsense}))
    assert read_limits(root, affinity=2) == Limits(2, "affinity", 16 * GIB, "machine")


@given(cgroup=st.text(), mountinfo=st.text(), meminfo=st.text(), limit=st.text())
def test_no_text_in_the_files_is_a_crash(
    tmp_path_factory: pytest.TempPathFactory, cgroup: str, mountinfo: str, meminfo: str, limit: str
) -> None:
    root = tmp_path_factory.mktemp("tree")
    files = v2("/", {"cpu.max": limit, "memory.max": limit})
    files |= {"proc/self/cgroup": f"0::/{cgroup}", "proc/self/mountinfo": V2_MOUNT + mountinfo, "proc/meminfo": meminfo}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode(errors="surrogatepass"))
    assert read_limits(root, affinity=4).cpus <= 4


def test_this_machine_can_be_read() -> None:
    limits = read_limits()
    assert limits.cpus > 0
    assert limits.memory_bytes is None or limits.memory_bytes > 0
