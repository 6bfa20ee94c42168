"""Calls at times to come, which never keep a process alive."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from queue import Empty, SimpleQueue
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

    __slots__ = ("__weakref__", "_call", "lane")

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
        # Reentrant, as the queue is: a garbage collection may run a finalizer that comes here.
        self._lock = threading.RLock()
        self._asked: SimpleQueue[_Due] = SimpleQueue()
        self._lanes: dict[Hashable, deque[Alarm]] = {}
        self._runs = False

    def after(self, seconds: float, call: Callable[[], None], *, lane: Hashable) -> Alarm:
        """Make ``call`` once, ``seconds`` from now, in the thread of ``lane``. Waits for nobody.

        Args:
            seconds: Until then.
            call: What it raises is logged.
            lane: That of all calls that may hang together, such as a store.
        """
        alarm = Alarm(call, lane)
        self._asked.put((time.monotonic() + seconds, next(self._numbers), alarm))
        if not self._runs:
            self._start()
        return alarm

    def _start(self) -> None:
        with self._lock:
            if not self._runs:
                self._runs = _started(self._run, "proxystore-clock")

    def _run(self) -> None:
        alarms: list[_Due] = []
        sweep_at = _LEAST_SWEEP
        while True:
            due = self._next_asked(alarms)
            if due is not None:
                heapq.heappush(alarms, due)
            if len(alarms) > sweep_at:
                # It may be long until what was cancelled is due.
                alarms = [due for due in alarms if not due[2].is_cancelled]
                heapq.heapify(alarms)
                sweep_at = max(_LEAST_SWEEP, 2 * len(alarms))
            while alarms and alarms[0][0] <= time.monotonic():
                self._put_in_lane(heapq.heappop(alarms)[2])

    def _next_asked(self, alarms: list[_Due]) -> _Due | None:
        """What was asked for next; `None` if an alarm is due before."""
        # Bounded, for a lock can be waited for 292 years at most, and a lease be longer.
        left = min(_LONGEST_WAIT_S, alarms[0][0] - time.monotonic()) if alarms else None
        try:
            return self._asked.get(timeout=None if left is None else max(0.0, left))
        except Empty:
            return None

    def _put_in_lane(self, alarm: Alarm) -> None:
        if alarm.is_cancelled:
            return
        with self._lock:
            lane = self._lanes.get(alarm.lane)
            if lane is not None:
                lane.append(alarm)
                return
            self._lanes[alarm.lane] = deque([alarm])
        if not _started(lambda: self._run_lane(alarm.lane), "proxystore-alarm"):
            del self._lanes[alarm.lane]
            self._asked.put((time.monotonic() + _RETRY_SECONDS, next(self._numbers), alarm))

    def _run_lane(self, lane: Hashable) -> None:
        while (alarm := self._next_in(lane)) is not None:
            alarm.ring()

    def _next_in(self, lane: Hashable) -> Alarm | None:
        with self._lock:
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
