"""How stores say what they are doing to whoever measures it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

__all__ = ["NO_WATCH", "Measures", "Watch"]


class Watch:
    """Follows one event, such as ``store.put``. This one does nothing, at no cost."""

    __slots__ = ()

    def lap(self, part: str) -> None:
        """A part of the event ends now; it began when the one before ended."""

    def count(self, name: str) -> None:
        """Something worth counting happened."""

    # Any: attributes are numbers or lists of them.
    def note(self, name: str, value: Any) -> None:
        """Something worth knowing about the object."""

    def stop(self, key: Hashable, *, total: bool = True) -> None:
        """The event ends now, and concerned ``key``; ``total`` if it is to be timed itself."""


NO_WATCH = Watch()


class Measures(Protocol):
    """Something that wants to know, such as `StoreMetrics`."""

    def watch(self, event: str) -> Watch:
        """Begin to follow an event."""
        ...
