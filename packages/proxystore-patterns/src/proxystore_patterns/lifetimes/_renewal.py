"""Keeps leases from ending while this process lives."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

from proxystore.errors import ClosedError, MediumGoneError, ProxyStoreError
from proxystore_patterns.lifetimes._clock import CLOCK

__all__ = ["Renewal"]


class Renewal:
    """Renews a lease in the background, at each third of its time, until `end`.

    It never keeps the interpreter from exiting, and is not made in a forked child. A medium
    that cannot be reached, or has no room, is asked again.

    Args:
        lease: Seconds.
        renew: Called from another thread, never twice at once; `False` if there is nothing to
            renew any more.
        lane: The store that it calls. Renewals of others do not wait for it.
        lost: Called from that thread, once, if there is nothing to renew, or no medium.
    """

    def __init__(
        self,
        lease: float,
        renew: Callable[[], bool],
        *,
        lane: Hashable,
        lost: Callable[[], None] | None = None,
    ) -> None:
        self._every = lease / 3
        self._renew, self._lane, self._lost = renew, lane, lost
        self._has_ended = False
        self._next_in(self._every)

    def end(self) -> None:
        """Renew it no more. Takes no lock: a garbage collection may call it at any time."""
        self._has_ended = True
        self._alarm.cancel()

    def _next_in(self, seconds: float) -> None:
        self._alarm = CLOCK.after(seconds, self._run, lane=self._lane)
        if self._has_ended:
            # Meanwhile, so that the alarm before this one was cancelled.
            self._alarm.cancel()

    def _run(self) -> None:
        begun = time.monotonic()
        is_there = self._is_renewed()
        if self._has_ended:
            return
        if is_there:
            self._next_in(max(0.0, begun + self._every - time.monotonic()))
            return
        self._has_ended = True
        if self._lost is not None:
            self._lost()

    def _is_renewed(self) -> bool:
        try:
            return self._renew()
        except (ClosedError, MediumGoneError):
            # All leases end there.
            return False
        except ProxyStoreError:
            # It may answer, or have room, before the lease ends.
            return True
