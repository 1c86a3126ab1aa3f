"""Tells which file system a folder is on, as far as the kernel says."""

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs",
    "virtiofs",
}  # fmt: skip
"""Types whose locks may hold on one host only, or not exist."""
NETWORK_BY_PROGRAM = ("ceph", "gcsfuse", "gluster", "nfs", "rclone", "s3fs", "smb", "sshfs")
"""Programs behind types such as `fuse.sshfs`."""


def network_type(folder: Path, mounts: Path = MOUNTS) -> str:
    """Return the type of the network file system that `folder` is on, or nothing if it is on another or nobody knows."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    found, deepest = "", -1
    for line in lines:  # a later mount covers an earlier one at the same place
        before, _, after = line.partition(" - ")
        place = Path(_unescape(before.split(" ")[4]))
        if folder.resolve().is_relative_to(place) and len(place.parts) >= deepest:
            found, deepest = after.split(" ")[0], len(place.parts)
    base, _, program = found.partition(".")
    by_program = base == "fuse" and program.startswith(NETWORK_BY_PROGRAM)
    return found if base in NETWORK or by_program else ""


def _unescape(path: str) -> str:
    r"""Undo the kernel's escapes: it writes a space as `\040`, and has others for a tab, a line end and a backslash."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), path)
