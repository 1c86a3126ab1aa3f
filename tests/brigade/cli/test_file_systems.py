from pathlib import Path

import pytest

from brigade.cli.file_systems import network_type

MOUNTS = r"""
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:40 / /state rw,relatime shared:2 - nfs4 10.0.0.1:/export rw,vers=4.2
31 30 0:41 / /state/local rw - tmpfs tmpfs rw
32 21 0:42 / /a\040folder rw master:3 - fuse.sshfs me@host:/ rw
33 21 0:43 / /home rw - fuse.encfs encfs rw
34 21 0:44 / /twice rw - nfs 10.0.0.1:/other rw
35 34 8:2 / /twice rw - xfs /dev/sdb1 rw
""".lstrip()


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/", ""), ("/var/state", ""), ("/state", "nfs4"), ("/state/clicks/a", "nfs4"), ("/state/local/b", ""),
        ("/statement", ""), ("/a folder/b", "fuse.sshfs"), ("/home/me", ""), ("/twice/b", ""),
    ],
)  # fmt: skip
def test_the_deepest_and_last_mount_tells_the_type(tmp_path: Path, folder: str, expected: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert network_type(Path(folder), mounts) == expected


def test_nothing_is_said_where_the_kernel_says_nothing(tmp_path: Path) -> None:
    assert network_type(tmp_path, tmp_path / "none") == ""


def test_the_kernel_of_this_machine_is_understood() -> None:
    assert network_type(Path("/proc")) == ""
