"""Places of this node that nobody will use again."""

from __future__ import annotations

import os
from contextlib import suppress

from proxystore.directories import open_checked
from proxystore.errors import ConfigError
from proxystore.serving.place import Owner, Place, runtime_directory

__all__ = ["collect_places"]


def collect_places() -> list[str]:
    """Remove the directories whose owner and store process were both killed.

    A store process removes its own when it ends, and so does an owner that closes.

    Returns:
        The paths that were removed.

    Raises:
        UnsafeDirectoryError: The directory that holds them is a link or not private.
    """
    root = runtime_directory()
    try:
        os.close(open_checked(root))
        names = os.listdir(root)
    except FileNotFoundError:
        return []
    removed = []
    for name in names:
        kind, _, namespace = name.partition("-")
        # Nothing of ours, or somebody removes it too.
        with suppress(ConfigError, FileNotFoundError):
            place = Place(kind, namespace)
            if place.owner() is not Owner.LIVES and not place.is_served():
                place.clear()
                if not os.path.exists(place.path):
                    removed.append(place.path)
    return removed
