"""What kind of file system a path is on: in memory, on a local disk, or elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["UNKNOWN", "filesystem_of", "is_local", "is_memory"]

UNKNOWN = "unknown"
"""The answer where the system does not say (no ``/proc``)."""

_MOUNTS = "/proc/self/mountinfo"
_MEMORY = frozenset({"tmpfs", "ramfs"})
# An allow-list: a mapping of a network or user-space file system can kill the
# process (SIGBUS) when its server goes away, or show pages of an older file.
_LOCAL = _MEMORY | {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "xfs", "zfs"}


class _Mount(NamedTuple):
    device: int
    mount_point: str
    kind: str


def filesystem_of(path: str, device: int) -> str:
    """The type of the file system that holds ``path``, such as ``"tmpfs"``.

    Args:
        path: Absolute; need not exist.
        device: ``st_dev`` of the file or directory at ``path``.

    Returns:
        The type, or `UNKNOWN`. Costs one read of the mount table (some 50 us).

    Raises:
        OSError: There is such a table, and it cannot be read (no free descriptor).
    """
    try:
        with open(_MOUNTS, "rb") as mounts_file:
            table = mounts_file.read()
    except (FileNotFoundError, PermissionError):
        return UNKNOWN
    mounts = list(_parsed(table))
    by_device = [mount.kind for mount in mounts if mount.device == device]
    if by_device:
        return by_device[-1]
    # btrfs subvolumes have device numbers that the table does not show.
    above = [mount for mount in mounts if _holds(mount.mount_point, path)]
    return max(above, key=lambda mount: len(mount.mount_point)).kind if above else UNKNOWN


def is_memory(kind: str) -> bool:
    """Whether files there live in the memory of this node."""
    return kind in _MEMORY


def is_local(kind: str) -> bool:
    """Whether files there can be mapped without fear of a server going away."""
    return kind in _LOCAL


def _parsed(table: bytes) -> Iterator[_Mount]:
    # proc(5): id parent major:minor root mount-point options [optional...] - type source ...
    for line in table.splitlines():
        before, dash, after = line.partition(b" - ")
        fields = before.split()
        if not dash or len(fields) < 5:
            continue
        major, _, minor = fields[2].partition(b":")
        kind = after.split(maxsplit=1)[0].decode("ascii", "replace")
        yield _Mount(os.makedev(int(major), int(minor)), _unescaped(fields[4]), kind)


def _unescaped(field: bytes) -> str:
    # The kernel writes space, tab, newline and backslash as three octal digits.
    for code in (b"\\040", b"\\011", b"\\012", b"\\134"):
        field = field.replace(code, bytes([int(code[1:], 8)]))
    return os.fsdecode(field)


def _holds(mount_point: str, path: str) -> bool:
    return (path + "/").startswith(mount_point.rstrip("/") + "/")
