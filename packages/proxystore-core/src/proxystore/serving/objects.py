"""`ObjectTable`: the objects of a store process, bounded in bytes."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, Self, TypeVar

from proxystore.errors import KeyAlreadySetError, KeyNotSetError, MediumFullError

__all__ = ["OVERHEAD_NBYTES", "Entry", "ObjectTable", "Room", "Totals"]

OVERHEAD_NBYTES = 512
"""What an object counts beyond its bytes: it takes 235 to 430, for its name, place and time."""

DataT = TypeVar("DataT")

_STALE_EXPIRIES = 64


class Entry(NamedTuple, Generic[DataT]):
    """An object in an `ObjectTable`."""

    data: DataT
    """Never changed: whoever got it may go on reading when the entry is gone."""
    nbytes: int
    generation: int
    """Different for each `ObjectTable.set` and `replace`, also after a restart."""
    expiry: float | None
    """When it ends, on the monotonic clock; `None` for never."""


class Totals(NamedTuple):
    """How full an `ObjectTable` is."""

    objects: int
    nbytes: int
    """Bytes of the objects, with their overhead, and of the room that is reserved."""
    max_nbytes: int


class Room:
    """Room for one object in an `ObjectTable`, held until it is used or given back.

    Made by `ObjectTable.reserve`; leaving its ``with`` block gives back what was not used.
    """

    __slots__ = ("_charged", "_table", "nbytes")

    def __init__(self, table: ObjectTable[DataT], nbytes: int, charged: int) -> None:
        self._table, self._charged = table, charged
        self.nbytes = nbytes
        """Of the object."""

    def release(self) -> None:
        """Give the room back, if no object has taken it. Idempotent."""
        self._table._add_nbytes(-self.take())

    def take(self) -> int:
        """How many bytes it holds, which are the caller's to account for from now on."""
        charged, self._charged = self._charged, 0
        return charged

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


class ObjectTable(Generic[DataT]):
    """The objects that a process keeps for others, by identifier.

    What an object's data is, its transport decides; nothing here reads it.
    Thread safe. Reading takes no lock.

    Args:
        where: The table, as a user would recognise it, for errors.
        max_nbytes: Bytes that the objects may have together, each with `OVERHEAD_NBYTES`.
    """

    def __init__(self, where: str, max_nbytes: int) -> None:
        self._where, self._max_nbytes = where, max_nbytes
        self._entries: dict[str, Entry[DataT]] = {}
        self._nbytes = 0
        self._expiries: list[tuple[float, str]] = []
        self._watchers: dict[str, list[Callable[[], None]]] = {}
        # From the clock: a table made after a crash must not count the same numbers again.
        self._generations = itertools.count(time.time_ns())
        self._lock = threading.RLock()

    def find(self, object_id: str) -> Entry[DataT] | None:
        """The object, or `None` if there is none or it has expired."""
        entry = self._entries.get(object_id)
        if entry is None or entry.expiry is None or time.monotonic() < entry.expiry:
            return entry
        with self._lock:
            # Asked again under the lock: a touch or a new object may have come first.
            if self._entries.get(object_id) is entry:
                self._remove(object_id)
        return None

    def totals(self) -> Totals:
        """How full the table is."""
        return Totals(len(self._entries), self._nbytes, self._max_nbytes)

    def reserve(self, nbytes: int) -> Room:
        """Room for an object of ``nbytes``, before its bytes are received.

        Raises:
            MediumFullError: The table would have more than ``max_nbytes``.
        """
        charged = nbytes + OVERHEAD_NBYTES
        with self._lock:
            self.sweep()
            if self._nbytes + charged > self._max_nbytes:
                raise self._full(nbytes)
            self._nbytes += charged
        return Room(self, nbytes, charged)

    def set(self, object_id: str, data: DataT, room: Room, *, ttl: float | None = None) -> None:
        """Make the object, once.

        Args:
            object_id: Its identifier.
            data: It, of as many bytes as ``room`` has, or fewer.
            room: From `reserve`; taken if the object is made.
            ttl: Seconds until it ends.

        Raises:
            KeyAlreadySetError: There is one. It stays as it is.
        """
        with self._lock:
            if self.find(object_id) is not None:
                raise KeyAlreadySetError(object_id)
            self._store(object_id, data, room, None if ttl is None else time.monotonic() + ttl)
            watchers = self._watchers.pop(object_id, ())
        for watcher in watchers:
            watcher()

    def replace(self, object_id: str, data: DataT, room: Room) -> None:
        """Put a new generation in place of the object, which keeps its time to live.

        Raises:
            KeyNotSetError: There is no object.
        """
        with self._lock:
            old = self.find(object_id)
            if old is None:
                raise KeyNotSetError(object_id)
            self._nbytes -= old.nbytes + OVERHEAD_NBYTES
            self._store(object_id, data, room, old.expiry)

    def touch(self, object_id: str, ttl: float | None) -> bool:
        """Let the object end ``ttl`` seconds from now; `False` if there is none."""
        with self._lock:
            entry = self.find(object_id)
            if entry is None:
                return False
            expiry = None if ttl is None else time.monotonic() + ttl
            self._entries[object_id] = entry._replace(expiry=expiry)
            self._expect(object_id, expiry)
        return True

    def evict(self, object_id: str) -> None:
        """Remove the object, if there is one."""
        with self._lock:
            self._remove(object_id)

    def clear(self) -> None:
        """Remove every object. Room that is reserved stays so."""
        with self._lock:
            for object_id in list(self._entries):
                self._remove(object_id)

    def sweep(self) -> None:
        """Remove what has expired. Costs next to nothing if nothing has."""
        now = time.monotonic()
        with self._lock:
            while self._expiries and self._expiries[0][0] <= now:
                _, object_id = heapq.heappop(self._expiries)
                # It may have been touched, or be another object by now: `find` looks.
                self.find(object_id)

    def watch(self, object_id: str, watcher: Callable[[], None]) -> bool:
        """Have ``watcher`` called once when the object is there, by the thread that makes it.

        Returns:
            Whether it is there now; then ``watcher`` is not called.
        """
        with self._lock:
            if self.find(object_id) is not None:
                return True
            self._watchers.setdefault(object_id, []).append(watcher)
        return False

    def unwatch(self, object_id: str, watcher: Callable[[], None]) -> None:
        """Forget a ``watcher``, if it is still there."""
        with self._lock:
            watchers = self._watchers.get(object_id, [])
            if watcher in watchers:
                watchers.remove(watcher)
            if not watchers:
                self._watchers.pop(object_id, None)

    def _store(self, object_id: str, data: DataT, room: Room, expiry: float | None) -> None:
        entry = Entry(data, room.nbytes, next(self._generations), expiry)
        room.take()
        self._entries[object_id] = entry
        self._expect(object_id, expiry)

    def _expect(self, object_id: str, expiry: float | None) -> None:
        if expiry is None:
            return
        heapq.heappush(self._expiries, (expiry, object_id))
        # Each touch leaves the earlier expiry behind.
        if len(self._expiries) > 2 * len(self._entries) + _STALE_EXPIRIES:
            self._expiries = [
                (entry.expiry, object_id)
                for object_id, entry in self._entries.items()
                if entry.expiry is not None
            ]
            heapq.heapify(self._expiries)

    def _remove(self, object_id: str) -> None:
        entry = self._entries.pop(object_id, None)
        if entry is not None:
            self._nbytes -= entry.nbytes + OVERHEAD_NBYTES

    def _add_nbytes(self, nbytes: int) -> None:
        with self._lock:
            self._nbytes += nbytes

    def _full(self, nbytes: int) -> MediumFullError:
        return MediumFullError(
            self._where,
            nbytes,
            f"{self._nbytes} of its {self._max_nbytes} bytes are in use. Evict objects, give "
            f"them a ttl, or make the store with a larger max_nbytes.",
        )
