"""What the connectors share whose objects live in a process of ours: one per node and namespace.

- `ObjectTable` is what such a process holds.
- `Place` is its directory on a node: who owns the namespace, who serves it.
- `ensure_running` starts it on demand, once, however many ask.
- `Life` tells it when to end, and `let_go` ends it with its owner.
- `proxystore.serving.addresses` finds the address of this node that others reach.
- `collect_places` removes what is left where both were killed.

Nothing here knows how bytes travel: that is a connector's business.
"""

from __future__ import annotations

from proxystore.serving.collection import collect_places
from proxystore.serving.ending import let_go
from proxystore.serving.launch import check_protocol, ensure_running
from proxystore.serving.life import Life
from proxystore.serving.objects import OVERHEAD_NBYTES, Entry, ObjectTable, Room, Totals
from proxystore.serving.place import (
    SOCKET_NBYTES,
    Announcement,
    Owner,
    Place,
    runtime_directory,
)

__all__ = [
    "OVERHEAD_NBYTES",
    "SOCKET_NBYTES",
    "Announcement",
    "Entry",
    "Life",
    "ObjectTable",
    "Owner",
    "Place",
    "Room",
    "Totals",
    "check_protocol",
    "collect_places",
    "ensure_running",
    "let_go",
    "runtime_directory",
]
