"""`LeaseLifetime`: until a time, which can be put off."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from proxystore.abc import Capability, Key
from proxystore.store import Store
from proxystore_patterns._options import checked_number
from proxystore_patterns.errors import LifetimeEndedError
from proxystore_patterns.lifetimes._base import EvictingLifetime
from proxystore_patterns.lifetimes._clock import CLOCK, Alarm

__all__ = ["LeaseLifetime"]

# A time to live of none is no time to live.
_LEAST_SECONDS = 0.001


class LeaseLifetime(EvictingLifetime):
    """Ends at a time, unless it is renewed with `extend`.

    Where the medium has times to live (`Leasable`) it ends the objects itself, whatever
    became of this process. Elsewhere a thread does, which does not keep the interpreter:
    what a process leaves that ended before its lease is found as a leak.

    Args:
        store: Of keys that are added without one.
        expiry: When it ends: a time, or seconds from now.
        name: For people to read.
        parent: Ends this lifetime when it ends, if that has not ended before.

    Raises:
        TypeError: ``expiry`` is none of these.
        ValueError: ``expiry`` is no number (NaN).
    """

    def __init__(
        self,
        store: Store[Any],
        expiry: datetime | timedelta | float,
        *,
        name: str | None = None,
        parent: EvictingLifetime | None = None,
    ) -> None:
        self._expires_at = time.monotonic() + _seconds_until(expiry)
        super().__init__(store, name=name, parent=parent)
        self._set_alarm()

    @property
    def left(self) -> float:
        """Seconds until it ends, 0 once it has."""
        return 0.0 if self.done() else max(0.0, self._expires_at - time.monotonic())

    def extend(self, expiry: datetime | timedelta | float) -> None:
        """Put off the end. Costs one request for each key that is held.

        Args:
            expiry: A time, which may be earlier too, or seconds to add.

        Raises:
            LifetimeEndedError: It has ended.
            ConnectorUnavailableError: A medium could not be reached. It was renewed in others.
        """
        with self._lock:
            if self.done():
                raise LifetimeEndedError(self.name)
            added = _seconds_until(expiry)
            start = time.monotonic() if isinstance(expiry, datetime) else self._expires_at
            self._expires_at = start + added
            self._alarm.cancel()
            self._set_alarm()
            held = {store: list(keys) for store, keys in self._held.items()}
        for store, keys in held.items():
            self._touched(store, keys)

    def _secure(self, store: Store[Any], keys: Sequence[Key]) -> None:
        # What the medium ends cannot leak; what has no object yet it cannot end.
        ending = self._touched(store, keys)
        self._note(store, [key for key in keys if key not in ending])

    def _touched(self, store: Store[Any], keys: Iterable[Key]) -> set[Key]:
        """Have the medium end ``keys`` with the lease, and give those that it will."""
        if Capability.LEASABLE not in store.capabilities:
            return set()
        return {key for key in keys if store.touch(key, max(self.left, _LEAST_SECONDS))}

    def _set_alarm(self) -> None:
        self._alarm: Alarm = CLOCK.after(self.left, self._on_alarm, lane=LeaseLifetime)

    def _on_alarm(self) -> None:
        # It may have been renewed while the alarm went off.
        if self.left == 0:
            # Elsewhere, for this is not to wait for a medium.
            CLOCK.after(0, self._end_if_over, lane=self._lane())

    def _end_if_over(self) -> None:
        if self.left == 0:
            self.end_quietly()


def _seconds_until(expiry: datetime | timedelta | float) -> float:
    if isinstance(expiry, datetime):
        return expiry.timestamp() - time.time()
    if isinstance(expiry, timedelta):
        return expiry.total_seconds()
    return checked_number("A lease", expiry)
