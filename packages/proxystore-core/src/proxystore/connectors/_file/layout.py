"""What the files in a directory of objects are called.

An object has its identifier as its name; everything else begins with a dot,
which no identifier does.
"""

from __future__ import annotations

from proxystore.connectors.keys import is_id

__all__ = [
    "FREE",
    "LOCK",
    "MEDIUM",
    "MOVED",
    "OWNER",
    "ROOM",
    "SLAB",
    "SLABS_LOCK",
    "SPILLED",
    "TEMPORARY",
    "is_object",
    "is_ours",
]

OWNER = ".owner"
"""Locked by the owner as long as it lives; holds its process id."""
LOCK = ".lock"
"""Locked by whoever takes a name away from an object that another may be renewing."""
TEMPORARY = ".tmp-"
"""Begins the name of an object that is being written, and locked by its writer."""

FREE = ".free-"
"""Begins the name of a segment of shared memory whose object was evicted, to be used again."""
SLAB = ".slab-"
"""Begins the name of a file of small objects, before the name of the writer that it belongs to."""

SLABS_LOCK = ".slabs"
"""Locked by whoever takes a slot away from an object, or changes one."""
MOVED = ".moved-"
"""Begins the name of an object that was in a slab, and was replaced."""

ROOM = ".room"
"""Holds how much memory the directory may take."""
SPILLED = ".spilled"
"""A link to the directory on disk that has what does not fit into this one, in memory."""
MEDIUM = ".medium"
"""A link from that directory to the one in memory."""

_PREFIXES = (TEMPORARY, FREE, MOVED, SLAB)
_NAMES = frozenset({LOCK, MEDIUM, ROOM, SLABS_LOCK, SPILLED})


def is_object(name: str) -> bool:
    """Whether a file of this name is an object."""
    return is_id(name)


def is_ours(name: str) -> bool:
    """Whether a file of this name is there because of us, the owner's lock apart."""
    return is_id(name) or name.startswith(_PREFIXES) or name in _NAMES
