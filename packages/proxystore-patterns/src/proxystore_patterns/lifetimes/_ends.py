"""What is done when something is no longer there, or the process is about to end."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["at_end"]

# Any in this module: things of every type, and the arguments of any function.
_pending: dict[object, weakref.finalize[..., Any]] = {}
_watched: set[int] = set()


def at_end(thing: object, function: Callable[..., Any], *args: Any) -> Callable[[], object]:
    """Call ``function(*args)`` once: when ``thing`` is deleted, or when the interpreter exits.

    Also at the end of a process of `multiprocessing`, which runs no other exit functions.

    Returns:
        Calls it now.
    """
    processes = sys.modules.get("multiprocessing.process")
    if processes is None or processes.parent_process() is None:
        return weakref.finalize(thing, function, *args)
    me = object()
    end = _pending[me] = weakref.finalize(thing, _end, me, function, args)
    _watch_this_process()
    return end


def _end(me: object, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    _pending.pop(me, None)
    function(*args)


def _watch_this_process() -> None:
    if os.getpid() not in _watched:
        from multiprocessing.util import Finalize

        _watched.add(os.getpid())
        Finalize(None, _end_all, exitpriority=0)


def _end_all() -> None:
    for end in reversed(list(_pending.values())):
        end()
