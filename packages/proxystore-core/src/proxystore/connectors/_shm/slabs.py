"""The slabs of a directory: those whose slots this process gives out, and those it reads."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from proxystore.connectors._file.directory import Directory
from proxystore.connectors._file.failures import FULL, gone
from proxystore.connectors._file.layout import SLAB, TEMPORARY
from proxystore.connectors._file.reading import UNMAPPABLE
from proxystore.connectors._shm.changing import Changing
from proxystore.connectors._shm.room import Fullness, reserve
from proxystore.connectors._shm.slab import Slab, slab_nbytes
from proxystore.connectors.keys import fresh_id
from proxystore.errors import CorruptObjectError
from proxystore.host.forks import remake_in_child
from proxystore.host.locks import try_lock
from proxystore.payload import Payload

__all__ = ["LARGEST_SLOT", "Place", "Slabs"]

LARGEST_SLOT = 65536
"""Bytes up to which objects share a slab; up to there a copy costs less than a mapping."""

_SMALLEST_BITS = 7
_FIRST_NBYTES = 1 << 17
_LARGEST_NBYTES = 1 << 24
_LEAST_SLOTS = 8
# Each is one descriptor, two before Python 3.13; reading copies, so any may be dropped.
_MOST_MAPPED = 64
_LOOK_SECONDS = 1.0
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
        self.free = []
        for name, slab in self.slabs.items():
            self.free += [(name, slab, slot) for slot in slab.free_slots()]


class Slabs:
    """Small objects of a directory. Thread safe; a forked child gives out slots of its own.

    Args:
        directory: Where the slabs are.
    """

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.changing = Changing(directory)
        """A lock, to hold while slots are taken away, or their objects changed.

        Entering raises TimeoutError if another process held it for 10 seconds.
        """
        self._begin()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        """Leave the parent its slots."""
        self.changing.remade_in_child()
        self._begin()

    def _begin(self) -> None:
        self._writer = fresh_id()[:8]
        self._made = 0
        self._fullness = Fullness()
        self._classes: dict[int, _SizeClass] = {}
        self._mapped: OrderedDict[str, Slab] = OrderedDict()
        self._next_look = 0.0

    def put(self, payload: Payload, nbytes: int, expiry: int) -> Place | None:
        """Store a copy of ``payload``, which has ``nbytes``: at most `LARGEST_SLOT`.

        Returns:
            `None` if this interrupts another call in the same thread.

        Raises:
            MediumGoneError: The directory is gone.
            OSError: There is no room.
        """
        changing = self.changing
        with changing.mutex:
            if changing.depth:
                return None
            changing.depth = 1
            try:
                name, slab, slot = self._free_slot(_bits(nbytes))
                return Place(name, slot, slab.write(slot, payload, expiry))
            finally:
                changing.depth = 0

    def put_batch(self, payloads: Sequence[tuple[Payload, int]], expiry: int) -> list[Place]:
        """As `put`, of the first payloads with their ``nbytes``: of as many as there is room for.

        If it raises, none of them is there. An interrupt may leave some, which nobody has the keys
        of, until the medium is closed.
        """
        changing = self.changing
        with changing.mutex:
            if changing.depth:
                return []
            changing.depth = 1
            try:
                return self._put_each(payloads, expiry)
            finally:
                changing.depth = 0

    def _put_each(self, payloads: Sequence[tuple[Payload, int]], expiry: int) -> list[Place]:
        places: list[Place] = []
        used: dict[str, Slab] = {}
        try:
            for payload, nbytes in payloads:
                name, slab, slot = self._popped(_bits(nbytes))
                used[name] = slab
                places.append(Place(name, slot, slab.write(slot, payload, expiry)))
        except BaseException as error:
            if not (isinstance(error, OSError) and error.errno in FULL | UNMAPPABLE):
                for place in places:
                    used[place.slab].evict(place.slot, place.generation)
                raise
        if all(slab.is_linked for slab in used.values()):
            return places
        # The directory was cleared: nobody would find the objects.
        self._classes.clear()
        return self._put_each(payloads, expiry)

    def _free_slot(self, bits: int) -> tuple[str, Slab, int]:
        found = self._popped(bits)
        if not found[1].is_linked:
            # The directory was cleared: nobody would find the object.
            self._classes.clear()
            found = self._popped(bits)
        return found

    def _popped(self, bits: int) -> tuple[str, Slab, int]:
        size_class = self._classes.get(bits) or self._new_class(bits)
        if not size_class.free:
            self._refill(size_class)
        return size_class.free.pop()

    def slab(self, place: Place) -> Slab | None:
        """The slab of ``place``, mapped; `None` if it is gone.

        Raises:
            CorruptObjectError: It is no slab.
            OSError: It cannot be opened.
        """
        return self.slab_named(place.slab)

    def slab_named(self, name: str) -> Slab | None:
        """As `slab`, by its name."""
        if time.monotonic() >= self._next_look:
            self._forget_removed()
        found = self._mapped.get(name)
        if found is None:
            found = self._opened(name)
        if found is None or found.is_linked:
            return found
        self._mapped.pop(name, None)
        return None

    def evict(self, place: Place) -> None:
        """Remove the object, if it is there."""
        slab = self.slab(place)
        if slab is None:
            return
        with self.changing:
            if slab.evict(place.slot, place.generation) and self.changing.depth == 1:
                self._reuse(place, slab)
        self._fullness.forget()

    def entries(self) -> Iterator[tuple[Place, int, int]]:
        """Each small object there is now, with its bytes and expiry (`boot_ns`; 0 for never)."""
        for name in self._names():
            slab = self._readable(name)
            for slot, generation, nbytes, expiry in slab.objects() if slab else ():
                yield Place(name, slot, generation), nbytes, expiry

    def collect(self) -> tuple[int, int]:
        """Remove expired objects, and slabs of dead processes that have no object any more.

        Returns:
            How many objects were removed, and how many bytes the slabs took.
        """
        expired = nbytes = 0
        for name in self._names():
            slab = self._readable(name)
            if slab is not None:
                with self.changing:
                    expired += slab.expire()
            slab = self._orphan(name)
            if slab is not None and not any(slab.objects()):
                os.unlink(SLAB + name, dir_fd=self.directory.fd)
                nbytes += slab.nbytes
        self._forget_removed()
        return expired, nbytes

    def holds_moved(self, place: Place) -> bool:
        """Whether the object is there, but in a file."""
        slab = self.slab(place)
        return slab is not None and slab.is_moved(place.slot, place.generation)

    def _readable(self, name: str) -> Slab | None:
        # A damaged one has no objects that could be found; the census tells of it.
        with suppress(CorruptObjectError):
            return self.slab_named(name)
        return None

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
        with self._fullness.asking():
            with self.changing:
                size_class.collect()
            if not size_class.free:
                self._adopt(size_class)
            if not size_class.free:
                self._make(size_class)

    def _make(self, size_class: _SizeClass) -> None:
        name = f"{self._writer}-{self._made}"
        self._made += 1
        slab = self._created(name, size_class)
        size_class.add(name, slab)
        self._remember(name, slab)

    def _adopt(self, size_class: _SizeClass) -> None:
        """Give out the slots of a slab whose process died, if one has any.

        Costs some 5 us for each slab there is: without the lock of changes, then, which
        hundreds of processes want.
        """
        for name in self._names():
            if name in size_class.slabs:
                continue
            slab = self._orphan(name)
            if slab is None or slab.slot_nbytes != size_class.slot_nbytes:
                continue
            with self.changing:
                # Full ones stay nobody's: of a thousand dead processes, they take no descriptor.
                if slab.free_slots():
                    size_class.slabs[name] = slab
                    self._remember(name, slab)
                    size_class.collect()
                    return

    def _orphan(self, name: str) -> Slab | None:
        """The slab, locked, if its process died. The lock is freed with the last reference."""
        with suppress(CorruptObjectError):
            slab = self._attached(name, try_lock)
            if slab is not None and slab.is_linked:
                return slab
        return None

    def _created(self, name: str, size_class: _SizeClass) -> Slab:
        try:
            return self._reserved(name, size_class.slot_nbytes, size_class.next_slots())
        except OSError as error:
            if error.errno not in FULL:
                raise
        return self._reserved(name, size_class.slot_nbytes, _LEAST_SLOTS)

    def _reserved(self, name: str, slot_nbytes: int, n_slots: int) -> Slab:
        where, begun = self.directory.fd, TEMPORARY + name
        reserve(self.directory, slab_nbytes(slot_nbytes, n_slots))
        try:
            fd = os.open(begun, _CREATE, 0o600, dir_fd=where)
        except FileNotFoundError:
            raise gone(self.directory.path) from None
        try:
            slab = Slab.create(fd, slot_nbytes, n_slots)
        except BaseException:
            os.close(fd)
            with suppress(FileNotFoundError):
                os.unlink(begun, dir_fd=where)
            raise
        try:
            os.rename(begun, SLAB + name, src_dir_fd=where, dst_dir_fd=where)
        except FileNotFoundError:
            raise gone(self.directory.path) from None
        return slab

    def _opened(self, name: str) -> Slab | None:
        slab = self._attached(name)
        if slab is not None:
            self._remember(name, slab)
        return slab

    def _attached(
        self, name: str, is_wanted: Callable[[int], bool] = lambda _: True
    ) -> Slab | None:
        try:
            fd = os.open(SLAB + name, _OPEN, dir_fd=self.directory.fd)
        except FileNotFoundError:
            return None
        try:
            if is_wanted(fd):
                return Slab.attach(fd, name)
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise

    def _forget_removed(self) -> None:
        """Let go of slabs that were removed: they take memory until nobody maps them."""
        self._next_look = time.monotonic() + _LOOK_SECONDS
        for name, slab in list(self._mapped.items()):
            if not slab.is_linked:
                self._mapped.pop(name, None)

    def _remember(self, name: str, slab: Slab) -> None:
        self._mapped[name] = slab
        if len(self._mapped) > _MOST_MAPPED:
            with suppress(KeyError):
                self._mapped.popitem(last=False)


def _bits(nbytes: int) -> int:
    """Of the size class of an object."""
    return max(_SMALLEST_BITS, (nbytes - 1).bit_length())
