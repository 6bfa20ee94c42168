"""Things that threads take turns with."""

from __future__ import annotations

import threading

from proxystore.host.forks import remake_in_child

__all__ = ["Guarded"]


class Guarded:
    """Has a lock, which is free in a forked child whoever held it in the parent."""

    def __init__(self) -> None:
        self.remade_in_child()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        """Make the lock anew."""
        # Reentrant: a garbage collection may end another borrow of the same object in the
        # midst of anything here.
        self.lock = threading.RLock()
