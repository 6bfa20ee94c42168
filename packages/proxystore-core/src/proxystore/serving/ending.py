"""`let_go`: the owner of a namespace closes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from proxystore.errors import ConnectorUnavailableError
from proxystore.serving.place import Announcement, Place

__all__ = ["let_go"]

_POLL_SECONDS = 0.002


def let_go(
    place: Place,
    tell: Callable[[Announcement], object],
    *,
    keep: bool = False,
    timeout: float = 2.0,
) -> None:
    """Disown ``place``, and see its store process and files go. Does nothing for a non-owner.

    Args:
        place: Its directory.
        tell: Has the store process, as it was announced, look at once whether its owner
            lives, which it does once a second anyway. It need not wait for an answer.
        keep: As for `Place.disown`; then nothing ends.
        timeout: Seconds to wait for the end. One that is stopped ends when it goes on.
    """
    if not place.is_owner:
        return
    place.disown(keep=keep)
    if keep:
        return
    found = place.announced()
    if found is None:
        place.clear()
        return
    deadline = time.monotonic() + timeout
    with suppress(ConnectorUnavailableError):
        tell(found)
    while place.is_served() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
