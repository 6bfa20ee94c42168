"""Calls at times to come, which never keep a process alive."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import TypeAlias

from proxystore.host.forks import remake_in_child

__all__ = ["CLOCK", "Alarm"]

_log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 3600.0
_RETRY_SECONDS = 1.0
_LEAST_SWEEP = 64


class Alarm:
    """A call to come.

    Args:
        call: What to do.
        lane: Calls of one lane are made one after the other, those of two never wait for each
            other.
    """

    __slots__ = ("_call", "lane")

    def __init__(self, call: Callable[[], None], lane: Hashable) -> None:
        self._call: Callable[[], None] | None = call
        self.lane = lane

    @property
    def is_cancelled(self) -> bool:
        """Whether the call will not be made."""
        return self._call is None

    def cancel(self) -> None:
        """Do not make the call, unless it has begun. Idempotent, and takes no lock."""
        self._call = None

    def ring(self) -> None:
        """Make the call."""
        call = self._call
        if call is None:
            return
        try:
            call()
        except BaseException:  # noqa: BLE001 - those that come after it are not to miss theirs.
            _log.exception("A call in the background failed.")


_Due: TypeAlias = tuple[float, int, Alarm]


class _Clock:
    """One thread that waits, and one for each lane while that has calls to make. Thread safe.

    So a medium that hangs holds up the calls of its own lane alone, and thousands
    of calls to one medium need one thread. A forked child begins without alarms: those of its
    parent are not its own.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self.remade_in_child()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        # Its lock is reentrant: a garbage collection may run a finalizer that comes here.
        self._changed = threading.Condition(threading.RLock())
        self._alarms: list[_Due] = []
        self._sweep_at = _LEAST_SWEEP
        self._lanes: dict[Hashable, deque[Alarm]] = {}
        self._runs = False

    def after(self, seconds: float, call: Callable[[], None], *, lane: Hashable) -> Alarm:
        """Make ``call`` once, ``seconds`` from now, in the thread of ``lane``.

        Args:
            seconds: Until then.
            call: What it raises is logged.
            lane: That of all calls that may hang together, such as a store.
        """
        alarm = Alarm(call, lane)
        with self._changed:
            self._sweep()
            when = time.monotonic() + seconds
            heapq.heappush(self._alarms, (when, next(self._numbers), alarm))
            self._changed.notify()
            self._runs = self._runs or _started(self._run, "proxystore-clock")
        return alarm

    def _sweep(self) -> None:
        """Forget what was cancelled, now and then, for it may be long until it is due."""
        if len(self._alarms) < self._sweep_at:
            return
        # Taken first, for what comes here meanwhile, by a garbage collection, adds to another list.
        alarms, self._alarms = self._alarms, []
        left = [due for due in alarms if not due[2].is_cancelled]
        self._alarms += left
        heapq.heapify(self._alarms)
        self._sweep_at = max(_LEAST_SWEEP, 2 * len(left))

    def _run(self) -> None:
        while (alarm := self._next()) is not None:
            self._put_in_lane(alarm)

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

    def _put_in_lane(self, alarm: Alarm) -> None:
        if alarm.is_cancelled:
            return
        with self._changed:
            lane = self._lanes.get(alarm.lane)
            if lane is not None:
                lane.append(alarm)
                return
            self._lanes[alarm.lane] = deque([alarm])
            if not _started(lambda: self._run_lane(alarm.lane), "proxystore-alarm"):
                del self._lanes[alarm.lane]
                when = time.monotonic() + _RETRY_SECONDS
                heapq.heappush(self._alarms, (when, next(self._numbers), alarm))

    def _run_lane(self, lane: Hashable) -> None:
        while (alarm := self._next_in(lane)) is not None:
            alarm.ring()

    def _next_in(self, lane: Hashable) -> Alarm | None:
        with self._changed:
            alarms = self._lanes[lane]
            if alarms:
                return alarms.popleft()
            del self._lanes[lane]
            return None


def _started(run: Callable[[], None], name: str) -> bool:
    """Start a thread; `False` if there are too many, or the interpreter ends."""
    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError:
        return False
    return True


CLOCK = _Clock()
"""The clock of this process."""
