"""Objects with locks or descriptors that a forked child must make anew."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["ForkAware", "remake_in_child"]


class ForkAware(Protocol):
    """Something whose locks another thread may have held when the process forked."""

    def remade_in_child(self) -> None:
        """Make locks anew, let go of what belongs to the parent. No other thread runs yet."""
        ...


_watched: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def remake_in_child(thing: ForkAware) -> None:
    """Call ``thing.remade_in_child()`` in every child forked from here on.

    Holds ``thing`` weakly, so it must be hashable and weakly referable. Thread safe.
    """
    _watched.add(thing)


def _after_fork() -> None:
    for thing in list(_watched):
        thing.remade_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
