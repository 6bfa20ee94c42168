"""Calls at times to come, from one thread of a process, which never keeps it alive."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from proxystore.host.forks import remake_in_child

__all__ = ["CLOCK", "Alarm"]

_LONGEST_WAIT_S = 3600.0


class Alarm:
    """A call to come."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Do not make the call, unless it has begun. Idempotent."""
        self._call = None

    def ring(self) -> None:
        """Make the call."""
        call = self._call
        if call is not None:
            call()


class _Clock:
    """Thread safe. A forked child begins without alarms: those of its parent are not its own."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self.remade_in_child()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        self._changed = threading.Condition()
        self._alarms: list[tuple[float, int, Alarm]] = []
        self._runs = False

    def after(self, seconds: float, call: Callable[[], None]) -> Alarm:
        """Make ``call`` in a thread of its own, once, ``seconds`` from now."""
        alarm = Alarm(call)
        with self._changed:
            when = time.monotonic() + seconds
            heapq.heappush(self._alarms, (when, next(self._numbers), alarm))
            self._changed.notify()
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name="proxystore-clock", daemon=True).start()
        return alarm

    def _run(self) -> None:
        while (alarm := self._next()) is not None:
            # In a thread of its own: a call to a medium that hangs must not stop the renewal
            # of leases in others. None can be started any more when the interpreter ends.
            with suppress(RuntimeError):
                threading.Thread(target=alarm.ring, name="proxystore-alarm", daemon=True).start()

    def _next(self) -> Alarm | None:
        with self._changed:
            while self._alarms:
                left = self._alarms[0][0] - time.monotonic()
                if left <= 0:
                    return heapq.heappop(self._alarms)[2]
                # Bounded, for a lock can be waited for 292 years at most, and a lease be longer.
                self._changed.wait(min(_LONGEST_WAIT_S, left))
            self._runs = False
            return None


CLOCK = _Clock()
"""The clock of this process."""
