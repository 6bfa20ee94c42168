"""Runs actions that set off further actions, without recursion."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Cascade"]


class Cascade:
    """Runs actions one after the other; those that an action adds run after it.

    A chain of 10,000 tasks whose first one fails is 10,000 callbacks deep without it.
    Each thread has its own queue.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def run(self, action: Callable[[], None]) -> None:
        """Run ``action`` now, or after the one that is running in this thread."""
        queue: deque[Callable[[], None]] | None = getattr(self._local, "queue", None)
        if queue is not None:
            queue.append(action)
            return
        self._local.queue = queue = deque([action])
        try:
            while queue:
                queue.popleft()()
        finally:
            self._local.queue = None
