"""Objects with locks and tables that a forked child must make anew."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["remake_in_child"]


class Remade(Protocol):
    """Something that another thread may have been changing when the process forked."""

    def remade_in_child(self) -> None:
        """Make locks and tables anew. Called in the child before any thread starts."""
        ...


_remade: weakref.WeakSet[Remade] = weakref.WeakSet()


def remake_in_child(thing: Remade) -> None:
    """Call ``thing.remade_in_child()`` in every child forked from here on.

    Holds ``thing`` weakly.
    """
    _remade.add(thing)


def _after_fork() -> None:
    for thing in list(_remade):
        thing.remade_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
