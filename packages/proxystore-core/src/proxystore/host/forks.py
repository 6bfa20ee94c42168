"""Objects with locks or descriptors that a forked child must make anew."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import AbstractContextManager
from typing import Protocol

__all__ = ["ForkAware", "no_fork", "remake_in_child"]


class ForkAware(Protocol):
    """Something whose locks another thread may have held when the process forked."""

    def remade_in_child(self) -> None:
        """Make locks anew, let go of what belongs to the parent. No other thread runs yet."""
        ...


_forking = threading.RLock()
_watched: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def remake_in_child(thing: ForkAware) -> None:
    """Call ``thing.remade_in_child()`` in every child forked from here on.

    Holds ``thing`` weakly, so it must be hashable and weakly referable. Thread safe.
    """
    _watched.add(thing)


def no_fork() -> AbstractContextManager[bool]:
    """Hold back forks of other threads until the block ends, which it should do at once.

    For what must not happen in between, as between opening a file and watching it.
    """
    return _forking


def _after_fork() -> None:
    _forking.release()
    for thing in list(_watched):
        thing.remade_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_after_fork
    )
