"""Small records of an owned object, beside it in its medium, that every process can name."""

from __future__ import annotations

import os
from typing import Any

from proxystore.abc import Capability, Key
from proxystore.errors import CapabilityError, KeyAlreadySetError
from proxystore.host.node import this_node
from proxystore.store import Store

__all__ = ["Records", "require", "this_process"]


def this_process() -> str:
    """This process, for people to read: what a record says of who made it."""
    return f"process {os.getpid()} on host {this_node().host}"


# Any in this module: stores with whatever connectors.
def require(store: Store[Any], asked: str, *capabilities: Capability) -> None:
    """See that the connector of ``store`` can do what ``asked`` needs.

    Raises:
        CapabilityError: It cannot.
    """
    for needed in capabilities:
        if needed not in store.capabilities:
            raise CapabilityError(asked, type(store.connector).__name__, needed.value)


class Records:
    """The records of one object. All of them say who made them, and nothing else.

    Args:
        store: Of the object.
        name: Of the object's records; no other object has it.
    """

    def __init__(self, store: Store[Any], name: str) -> None:
        self.store, self.name = store, name

    def set(self, record: str, ttl: float | None = None) -> bool:
        """Make a record; `False` if it is there. Of all who try at once, one makes it."""
        # Any: options of connectors. Not all know this one.
        leased: dict[str, Any] = {} if ttl is None else {"ttl": ttl}
        try:
            self.store.set(self._key(record), this_process(), **leased)
        except KeyAlreadySetError:
            return False
        return True

    def maker(self, record: str) -> str | None:
        """Who made a record; `None` if there is none."""
        key = self._key(record)
        found: str | None = self.store.get(key)
        # A record comes and goes, so nobody may find it in the cache.
        self.store.cache.evict(key)
        return found

    def exists(self, record: str) -> bool:
        """Whether there is a record."""
        return self.store.exists(self._key(record))

    def touch(self, record: str, ttl: float) -> bool:
        """Let a record end ``ttl`` seconds from now; `False` if there is none."""
        return self.store.touch(self._key(record), ttl)

    def remove(self, record: str) -> None:
        """Remove a record, if it is there."""
        self.store.evict(self._key(record))

    def id_of(self, record: str) -> str:
        """Of the object that is a record."""
        return f"{self.name}-{record}"

    def _key(self, record: str) -> Key:
        return self.store.new_key(self.id_of(record))
