"""Which machine this is, since when: what tells one host's memory from another's."""

from __future__ import annotations

import functools
import os
import zlib
from typing import NamedTuple, Self

__all__ = ["Node", "this_node"]

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_BOOT_LENGTH = 8


class Node(NamedTuple):
    """A host, from one boot to the next."""

    host: str
    """First label of its name, for people to read."""
    boot: str
    """First 8 hex digits of its boot identifier, which decides equality of nodes."""

    def __str__(self) -> str:
        return f"{self.host}/{self.boot}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The node that ``str()`` gave as ``text``.

        Raises:
            ValueError: ``text`` is not of the form ``host/boot``.
        """
        host, slash, boot = text.rpartition("/")
        if not (host and slash and boot):
            raise ValueError(f"{text!r} is not of the form host/boot")
        return cls(host, boot)

    def is_here(self) -> bool:
        """Whether this process runs on the node, booted as it was then."""
        return self.boot == this_node().boot


@functools.cache
def this_node() -> Node:
    """The node this process runs on. Costs one small read the first time."""
    name = os.uname().nodename
    try:
        with open(_BOOT_ID, encoding="ascii") as boot_id:
            boot = boot_id.read().strip()
    except OSError:
        # No boot identifier outside Linux: the name alone tells hosts apart there.
        boot = f"{zlib.crc32(name.encode()):08x}"
    return Node(name.partition(".")[0] or "localhost", boot[:_BOOT_LENGTH])
