"""The slabs of a directory: those whose slots this process gives out, and those it reads."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.failures import gone
from proxystore.connectors._file.layout import SLAB, SLABS_LOCK
from proxystore.connectors._shm.slab import Slab
from proxystore.connectors.keys import fresh_id
from proxystore.errors import CorruptObjectError
from proxystore.host.forks import remake_in_child
from proxystore.host.locks import lock, try_lock, unlock
from proxystore.payload import Payload

__all__ = ["LARGEST_SLOT", "Place", "Slabs"]

LARGEST_SLOT = 65536
"""Bytes up to which objects share a slab; up to there a copy costs less than a mapping."""

_SMALLEST_BITS = 7
_FIRST_NBYTES = 1 << 17
_LARGEST_NBYTES = 1 << 24
_LEAST_SLOTS = 8
_LOCK_SECONDS = 10.0
# Each mapping is a descriptor before Python 3.13; reading copies, so any may be dropped.
_MOST_MAPPED = 128
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class Place(NamedTuple):
    """Where a small object is."""

    slab: str
    slot: int
    generation: int


class _SizeClass:
    """Slabs of this process with slots of one size, and which of them are free."""

    def __init__(self, bits: int) -> None:
        self.bits, self.slot_nbytes = bits, 1 << bits
        self.slabs: dict[str, Slab] = {}
        self.free: list[tuple[str, Slab, int]] = []

    def next_slots(self) -> int:
        """How many slots the next slab has: twice as many as the last, so that slabs stay few."""
        nbytes = min(_FIRST_NBYTES << len(self.slabs), _LARGEST_NBYTES)
        return max(_LEAST_SLOTS, nbytes // self.slot_nbytes)

    def add(self, name: str, slab: Slab) -> None:
        """Give out the slots of a new slab too."""
        self.slabs[name] = slab
        self.free += [(name, slab, slot) for slot in reversed(range(slab.n_slots))]

    def collect(self) -> None:
        """Find the slots whose objects were evicted, by whomever. Hold the lock."""
        for name, slab in self.slabs.items():
            self.free += [(name, slab, slot) for slot in slab.free_slots()]


class Slabs:
    """Small objects of a directory. Thread safe; a forked child gives out slots of its own.

    Args:
        directory: Where the slabs are.
    """

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self._lock_fd = -1
        self.remade_in_child()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        """Leave the parent its slots, and its lock: that is of the open file, which both have."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
        self._lock_fd = -1
        self._writer = fresh_id()[:8]
        self._made = 0
        self._classes: dict[int, _SizeClass] = {}
        self._mapped: OrderedDict[str, Slab] = OrderedDict()
        self._mutex = threading.Lock()

    def __del__(self) -> None:
        if self._lock_fd >= 0:
            os.close(self._lock_fd)

    def put(self, payload: Payload, nbytes: int, expiry: int) -> Place:
        """Store a copy of ``payload``, which has ``nbytes``: at most `LARGEST_SLOT`.

        Raises:
            MediumGoneError: The directory is gone.
            OSError: There is no room.
        """
        bits = max(_SMALLEST_BITS, (nbytes - 1).bit_length())
        with self._mutex:
            size_class = self._classes.get(bits) or self._new_class(bits)
            if not size_class.free:
                self._refill(size_class)
            name, slab, slot = size_class.free.pop()
            if not self._is_linked(name):
                # The directory was cleared: nobody would find the object.
                self._classes.clear()
                size_class = self._new_class(bits)
                self._refill(size_class)
                name, slab, slot = size_class.free.pop()
            return Place(name, slot, slab.write(slot, payload, expiry))

    def slab(self, place: Place) -> Slab | None:
        """The slab of ``place``, mapped; `None` if it is gone.

        Raises:
            CorruptObjectError: It is no slab.
            OSError: It cannot be opened.
        """
        name = place.slab
        found = self._mapped.get(name)
        if found is not None:
            return found
        try:
            fd = os.open(SLAB + name, _OPEN, dir_fd=self.directory.fd)
        except FileNotFoundError:
            return None
        try:
            slab = Slab.attach(fd, name)
        finally:
            os.close(fd)
        self._remember(name, slab)
        return slab

    def evict(self, place: Place) -> None:
        """Remove the object, if it is there."""
        slab = self.slab(place)
        if slab is None:
            return
        with self.changing():
            if slab.evict(place.slot, place.generation):
                self._reuse(place, slab)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock under which slots are taken away, or their objects changed.

        Raises:
            TimeoutError: Another process held it for 10 seconds.
        """
        with self._mutex, self._locked():
            yield

    def entries(self) -> Iterator[tuple[Place, int, int]]:
        """Each small object there is now, with its bytes and expiry (`boot_ns`; 0 for never)."""
        for name in self._names():
            slab = self.slab(Place(name, 0, 0))
            for slot, generation, nbytes, expiry in slab.objects() if slab else ():
                yield Place(name, slot, generation), nbytes, expiry

    def collect(self) -> int:
        """Remove slabs of dead processes that have no object any more; gives their bytes."""
        removed = 0
        for name in self._names():
            # Corrupt: it is being made just now.
            with suppress(FileNotFoundError, CorruptObjectError):
                fd = os.open(SLAB + name, _OPEN, dir_fd=self.directory.fd)
                try:
                    # Locked as long as its process lives.
                    if try_lock(fd) and not any(Slab.attach(fd, name).objects()):
                        os.unlink(SLAB + name, dir_fd=self.directory.fd)
                        removed += os.fstat(fd).st_size
                finally:
                    os.close(fd)
        return removed

    def _names(self) -> list[str]:
        names = (entry.name for entry in self.directory.scan())
        return [name.removeprefix(SLAB) for name in names if name.startswith(SLAB)]

    def _new_class(self, bits: int) -> _SizeClass:
        size_class = self._classes[bits] = _SizeClass(bits)
        return size_class

    def _reuse(self, place: Place, slab: Slab) -> None:
        size_class = self._classes.get(slab.slot_nbytes.bit_length() - 1)
        if size_class is not None and place.slab in size_class.slabs:
            size_class.free.append((place.slab, slab, place.slot))

    def _refill(self, size_class: _SizeClass) -> None:
        with self._locked():
            size_class.collect()
        if size_class.free:
            return
        name = f"{self._writer}-{self._made}"
        self._made += 1
        slab = self._created(name, size_class)
        size_class.add(name, slab)
        self._remember(name, slab)

    def _created(self, name: str, size_class: _SizeClass) -> Slab:
        try:
            fd = os.open(SLAB + name, _CREATE, 0o600, dir_fd=self.directory.fd)
        except FileNotFoundError:
            raise gone(self.directory.path) from None
        try:
            return Slab.create(fd, size_class.slot_nbytes, size_class.next_slots())
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(SLAB + name, dir_fd=self.directory.fd)
            raise
        finally:
            os.close(fd)

    def _remember(self, name: str, slab: Slab) -> None:
        self._mapped[name] = slab
        if len(self._mapped) > _MOST_MAPPED:
            with suppress(KeyError):
                self._mapped.popitem(last=False)

    def _is_linked(self, name: str) -> bool:
        try:
            os.stat(SLAB + name, dir_fd=self.directory.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._lock_fd < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._lock_fd = os.open(SLABS_LOCK, flags, 0o600, dir_fd=self.directory.fd)
        lock(self._lock_fd, _LOCK_SECONDS)
        try:
            yield
        finally:
            unlock(self._lock_fd)
