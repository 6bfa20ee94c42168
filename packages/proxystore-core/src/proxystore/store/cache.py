"""A cache of deserialized objects, bounded in objects and in bytes, of one store or of several."""

from __future__ import annotations

import numbers
import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, NamedTuple

from proxystore.host.forks import remake_in_child

__all__ = ["CacheShare", "LRUCache"]


class _Entry(NamedTuple):
    value: Any  # the object, or a weak reference to it
    is_weak: bool
    nbytes: int
    tag: object


def _check_bound(what: str, bound: object) -> None:
    if not isinstance(bound, numbers.Real):
        raise TypeError(f"A cache holds a number of {what}, 0 or more, not {bound!r}.")
    if bound < 0:
        raise ValueError(f"A cache cannot hold {bound} {what}. Use 0 to keep nothing.")


class LRUCache:
    """Keeps the objects that were used last.

    Thread safe, and usable in a forked child. No operation takes longer with
    the size of the objects. Several stores of a process may fill one together:
    see `share`.

    Args:
        maxsize: Most objects to keep; 0 keeps none.
        max_nbytes: Most bytes that objects kept strongly may cost together.

    Raises:
        ValueError: A bound is negative.
        TypeError: A bound is no number.
    """

    def __init__(self, maxsize: int = 256, max_nbytes: int = 256 * 1024 * 1024) -> None:
        _check_bound("objects", maxsize)
        _check_bound("bytes", max_nbytes)
        self.maxsize, self.max_nbytes = maxsize, max_nbytes
        self.hits = 0
        """Calls of `get` that found an object."""
        self.misses = 0
        """Calls of `get` that did not."""
        self.evictions = 0
        """Objects that made room for others."""
        self.nbytes = 0
        """What the objects kept strongly cost together."""
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        # Reentrant: a garbage collection can run a finalizer that evicts an object
        # in the midst of any method here.
        self._lock = threading.RLock()
        remake_in_child(self)

    # Any: objects of every type.
    def get(self, key: Hashable, default: Any = None, *, tag: object = None) -> Any:
        """The object of ``key`` if it was set with an equal ``tag``, else ``default``."""
        with self._lock:
            value = self._peek(key, default, tag)
            if value is default:
                self.misses += 1
            else:
                self.hits += 1
                self._entries.move_to_end(key)
        return value

    def peek(self, key: Hashable, default: Any = None, *, tag: object = None) -> Any:
        """As `get`, but counts for nothing."""
        with self._lock:
            return self._peek(key, default, tag)

    def set(
        self, key: Hashable, value: Any, nbytes: int = 0, *, tag: object = None, weak: bool = False
    ) -> None:
        """Keep ``value``, and drop what was used longest ago to make room.

        Args:
            key: Replaces the object that had this key.
            value: Any object.
            nbytes: What the object costs; over `max_nbytes` it is not kept.
            tag: `get` must name an equal one.
            weak: Keep the object only while somebody else does, at no cost.
                One that cannot be referenced weakly is not kept.
        """
        entry = _Entry(value, is_weak=False, nbytes=nbytes, tag=tag)
        if weak:
            try:
                entry = _Entry(weakref.ref(value), is_weak=True, nbytes=0, tag=tag)
            except TypeError:
                self.evict(key)
                return
        with self._lock:
            dropped = [self._drop(key)]
            if self.has_room(entry.nbytes):
                self._entries[key] = entry
                self.nbytes += entry.nbytes
            while len(self._entries) > self.maxsize or self.nbytes > self.max_nbytes:
                dropped.append(self._drop(next(iter(self._entries))))
                self.evictions += 1
        # Outside of the lock: the last reference to an object may run any code.
        del dropped

    def has_room(self, nbytes: int) -> bool:
        """Whether an object of this cost would be kept at all."""
        return self.maxsize > 0 and nbytes <= self.max_nbytes

    def exists(self, key: Hashable) -> bool:
        """Whether there is an object of ``key``, whatever its tag."""
        missing = object()
        with self._lock:
            entry = self._entries.get(key)
            return entry is not None and self._peek(key, missing, entry.tag) is not missing

    def lacks(self, key: Hashable) -> bool:
        """Whether there is no object of ``key``, whatever its tag, which counts as a miss."""
        with self._lock:
            if key in self._entries:
                return False
            self.misses += 1
            return True

    def evict(self, key: Hashable) -> None:
        """Drop the object of ``key``, if there is one."""
        with self._lock:
            dropped = self._drop(key)
        del dropped

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            dropped, self._entries, self.nbytes = self._entries, OrderedDict(), 0
        del dropped

    def share(self) -> CacheShare:
        """A part of this cache for one more store, whose keys meet no other's."""
        return CacheShare(self)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return (
            f"<LRUCache: {len(self)} of {self.maxsize} objects, "
            f"{self.nbytes} of {self.max_nbytes} bytes>"
        )

    def remade_in_child(self) -> None:
        """Start anew after a fork, in which another thread may have held the lock."""
        self._lock = threading.RLock()
        self._entries = OrderedDict(self._entries)
        self.nbytes = sum(entry.nbytes for entry in self._entries.values())

    def _peek(self, key: Hashable, default: Any, tag: object) -> Any:
        entry = self._entries.get(key)
        if entry is None or entry.tag != tag:
            return default
        if not entry.is_weak:
            return entry.value
        value = entry.value()
        return default if value is None else value

    def _drop(self, key: Hashable) -> _Entry | None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.nbytes -= entry.nbytes
        return entry


class CacheShare:
    """What one of several stores keeps in an `LRUCache`, and finds there again.

    As the cache, whose bounds hold for all shares together. Thread safe, and usable in a
    forked child. What it keeps goes with it, and leaves that of the others.

    Args:
        cache: Where the objects are.
    """

    def __init__(self, cache: LRUCache) -> None:
        self._cache = cache
        # Equal to nothing else, unlike any name: two stores of one medium may read it
        # with different deserializers.
        self._owner = object()
        self.hits = 0
        """Calls of `get` that found an object."""
        self.misses = 0
        """Calls of `get` that did not."""

    def __del__(self) -> None:
        self.clear()

    @property
    def maxsize(self) -> int:
        """As `LRUCache`: most objects of all shares."""
        return self._cache.maxsize

    @property
    def max_nbytes(self) -> int:
        """As `LRUCache`: most bytes of all shares."""
        return self._cache.max_nbytes

    @property
    def evictions(self) -> int:
        """As `LRUCache.evictions`: of all shares."""
        return self._cache.evictions

    @property
    def nbytes(self) -> int:
        """What the objects of this share cost together. Looks at those of all."""
        with self._cache._lock:
            return sum(entry.nbytes for _, entry in self._own())

    # Any: objects of every type.
    def get(self, key: Hashable, default: Any = None, *, tag: object = None) -> Any:
        """As `LRUCache.get`."""
        with self._cache._lock:
            value = self._cache.get((self._owner, key), default, tag=tag)
            if value is default:
                self.misses += 1
            else:
                self.hits += 1
        return value

    def peek(self, key: Hashable, default: Any = None, *, tag: object = None) -> Any:
        """As `LRUCache.peek`."""
        return self._cache.peek((self._owner, key), default, tag=tag)

    def set(
        self, key: Hashable, value: Any, nbytes: int = 0, *, tag: object = None, weak: bool = False
    ) -> None:
        """As `LRUCache.set`; what makes room may be of any share."""
        self._cache.set((self._owner, key), value, nbytes, tag=tag, weak=weak)

    def has_room(self, nbytes: int) -> bool:
        """As `LRUCache.has_room`."""
        return self._cache.has_room(nbytes)

    def exists(self, key: Hashable) -> bool:
        """As `LRUCache.exists`."""
        return self._cache.exists((self._owner, key))

    def lacks(self, key: Hashable) -> bool:
        """As `LRUCache.lacks`."""
        with self._cache._lock:
            lacking = self._cache.lacks((self._owner, key))
            self.misses += lacking
        return lacking

    def evict(self, key: Hashable) -> None:
        """As `LRUCache.evict`."""
        self._cache.evict((self._owner, key))

    def clear(self) -> None:
        """Drop everything of this share. Looks at the objects of all."""
        with self._cache._lock:
            dropped = self._own()
            for key, _ in dropped:
                self._cache.evict(key)
        del dropped

    def __len__(self) -> int:
        with self._cache._lock:
            return len(self._own())

    def __repr__(self) -> str:
        return f"<CacheShare: {len(self)} of the objects of {self._cache!r}>"

    def _own(self) -> list[tuple[Hashable, _Entry]]:
        # First a list of what is there, which allocates nothing: a garbage collection in between
        # can run a finalizer that evicts.
        keys = list(self._cache._entries)
        mine = [key for key in keys if isinstance(key, tuple) and key[:1] == (self._owner,)]
        found = [(key, self._cache._entries.get(key)) for key in mine]
        return [(key, entry) for key, entry in found if entry is not None]
