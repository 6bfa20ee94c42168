"""A slab: one mapped file of equal slots, each with a small object.

Only the process that has the slab's lock gives out its slots; every process reads
them, and evicts. A slot's words say which generation of it is there, or none while it
is being written. A reader copies the bytes and looks at the words again: had the slot
been given out anew meanwhile, its generation would have changed. So nobody waits for
anybody, and reading makes no copy but the reader's.

    0   8s  magic         8   I   bytes of a slot      12  I   number of slots
    64      the words of each slot: generation, length, evicted generation, expiry
    then    the slots, from the next page

The highest bit of a length says that the object was replaced, and is in a file.
"""

from __future__ import annotations

import mmap
import os
import platform
import struct
import sys
import threading
from collections.abc import Iterator
from typing import Self

from proxystore.errors import CorruptObjectError
from proxystore.host.clocks import boot_ns
from proxystore.host.locks import try_lock
from proxystore.payload import Payload, as_buffers, payload_nbytes

__all__ = ["Slab", "slab_nbytes"]

_MAGIC = b"PXSLAB\x00\x01"
_HEADER = struct.Struct("=8sII")
_TABLE = 64
_WORDS = 4
_GENERATION, _LENGTH, _EVICTED, _EXPIRY = range(_WORDS)
_MOVED = 1 << 63
# A slot whose words were damaged so far is not used again: they could not grow.
_LAST_GENERATION = 1 << 62
_ORDERED = platform.machine() in {"x86_64", "AMD64", "i686"}


def _in_order() -> None:
    """Let other processors see what comes before this no later than what comes after."""
    if not _ORDERED:
        # Taking a lock orders what follows it, freeing one what went before: so two do both.
        for _ in range(2):
            fresh = threading.Lock()
            fresh.acquire()
            fresh.release()


class Slab:
    """A mapped slab, made here or by another process.

    Reading is safe from any thread and process. `write` and `free_slots` are for the
    process that holds the lock on the file, one thread at a time.

    Args:
        fd: The open file, which becomes the slab's to close.
        slot_nbytes: Bytes of a slot, a multiple of 64.
        n_slots: How many there are.
    """

    __slots__ = ("_data", "_fd", "_start", "_words", "n_slots", "slot_nbytes")

    def __init__(self, fd: int, slot_nbytes: int, n_slots: int) -> None:
        self._fd = -1
        self.slot_nbytes, self.n_slots = slot_nbytes, n_slots
        self._start = _start_of_slots(n_slots)
        self._data = memoryview(_mapped(fd, self._start + slot_nbytes * n_slots))
        self._words = self._data[_TABLE : _TABLE + n_slots * _WORDS * 8].cast("Q")
        # Last: if this raised, the file is still the caller's to close.
        self._fd = fd

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    @classmethod
    def create(cls, fd: int, slot_nbytes: int, n_slots: int) -> Self:
        """Make the empty file ``fd`` a slab, and lock it for as long as this process lives.

        Raises:
            OSError: There is no room. The file is still the caller's to close.
        """
        try_lock(fd)
        # Reserved, for a store into a hole of a full file system would kill the process.
        os.posix_fallocate(fd, 0, slab_nbytes(slot_nbytes, n_slots))
        os.pwrite(fd, _HEADER.pack(_MAGIC, slot_nbytes, n_slots), 0)
        return cls(fd, slot_nbytes, n_slots)

    @classmethod
    def attach(cls, fd: int, name: str) -> Self:
        """The slab that another process made of the file ``fd``.

        Raises:
            CorruptObjectError: It is none, or is cut short. The file is still the
                caller's to close.
        """
        head = os.pread(fd, _HEADER.size, 0)
        if len(head) == _HEADER.size:
            magic, slot_nbytes, n_slots = _HEADER.unpack(head)
            # Exactly: a damaged number would move the places of the slots.
            if magic == _MAGIC and slab_nbytes(slot_nbytes, n_slots) == os.fstat(fd).st_size:
                return cls(fd, slot_nbytes, n_slots)
        raise CorruptObjectError(f"slab {name} of shared memory")

    @property
    def nbytes(self) -> int:
        """Bytes of shared memory that it takes."""
        return slab_nbytes(self.slot_nbytes, self.n_slots)

    @property
    def is_linked(self) -> bool:
        """Whether the slab still is in its directory. Costs one system call."""
        return os.fstat(self._fd).st_nlink > 0

    def write(self, slot: int, payload: Payload, expiry: int) -> int:
        """Put an object into a slot that is free; gives the generation by which it is found.

        Args:
            slot: Of this slab, and nobody's.
            payload: At most `slot_nbytes`.
            expiry: As `boot_ns`; 0 for never.

        Raises:
            CorruptObjectError: The words of the slot were damaged. It was not written to.
        """
        words, base = self._words, slot * _WORDS
        generation = max(words[base + _GENERATION], words[base + _EVICTED]) + 1
        if generation > _LAST_GENERATION:
            raise CorruptObjectError(f"slot {slot} of a slab of shared memory")
        # First: a reader of what was there must not take half of this for it.
        words[base + _GENERATION] = 0
        _in_order()
        position = self._start + slot * self.slot_nbytes
        for part in as_buffers(payload):
            end = position + len(part)
            self._data[position:end] = part
            position = end
        words[base + _LENGTH] = payload_nbytes(payload)
        words[base + _EXPIRY] = expiry
        _in_order()
        # Last: from here on readers find it.
        words[base + _GENERATION] = generation
        return generation

    def read(
        self, slot: int, generation: int, offset: int = 0, length: int | None = None
    ) -> bytearray | None:
        """A copy of the object, or of ``length`` bytes of it from ``offset``; `None` if it is gone.

        Not for an object that `is_moved`.
        """
        if not self.holds(slot, generation):
            return None
        _in_order()
        nbytes = self._words[slot * _WORDS + _LENGTH]
        if nbytes > self.slot_nbytes:
            # It was moved just now, or the slab is damaged.
            return None
        start = self._start + slot * self.slot_nbytes
        stop = start + nbytes
        start = min(start + offset, stop)
        data = bytearray(self._data[start : stop if length is None else min(start + length, stop)])
        _in_order()
        # Evicted meanwhile is as good as evicted later; given out anew is not.
        return data if self._words[slot * _WORDS + _GENERATION] == generation else None

    def holds(self, slot: int, generation: int) -> bool:
        """Whether that generation of the slot is there now."""
        if not 0 <= slot < self.n_slots:
            return False
        words, base = self._words, slot * _WORDS
        if words[base + _GENERATION] != generation or words[base + _EVICTED] >= generation:
            return False
        expiry = words[base + _EXPIRY]
        return not expiry or boot_ns() < expiry

    def evict(self, slot: int, generation: int) -> bool:
        """Take the object away, for good; whether it was there. Hold the lock of changes."""
        words, base = self._words, slot * _WORDS
        if not 0 <= slot < self.n_slots or words[base + _GENERATION] != generation:
            return False
        if words[base + _EVICTED] >= generation:
            return False
        words[base + _EVICTED] = generation
        return True

    def is_moved(self, slot: int, generation: int) -> bool:
        """Whether the object is there, but in a file."""
        return self.holds(slot, generation) and bool(self._words[slot * _WORDS + _LENGTH] & _MOVED)

    def move(self, slot: int) -> None:
        """Say that the object is in a file from now on. Hold the lock of changes."""
        self._words[slot * _WORDS + _LENGTH] |= _MOVED

    def expiry(self, slot: int) -> int:
        """When the object of the slot ends, as `boot_ns`; 0 for never."""
        return self._words[slot * _WORDS + _EXPIRY]

    def renew(self, slot: int, generation: int, expiry: int) -> bool:
        """Let the object end at ``expiry``; whether it is there. Hold the lock of changes."""
        if not self.holds(slot, generation):
            return False
        self._words[slot * _WORDS + _EXPIRY] = expiry
        return True

    def objects(self) -> Iterator[tuple[int, int, int, int]]:
        """Slot, generation, bytes and expiry of each object."""
        words = self._words.tolist()
        for slot in range(self.n_slots):
            generation, nbytes, _, expiry = words[slot * _WORDS : (slot + 1) * _WORDS]
            if self.holds(slot, generation):
                yield slot, generation, nbytes & ~_MOVED, expiry

    def expire(self) -> int:
        """Evict the objects whose time is over; gives how many. Hold the lock of changes."""
        words, now, n_expired = self._words.tolist(), boot_ns(), 0
        for base in range(0, self.n_slots * _WORDS, _WORDS):
            generation, expiry = words[base + _GENERATION], words[base + _EXPIRY]
            if words[base + _EVICTED] < generation and expiry and now >= expiry:
                self._words[base + _EVICTED] = generation
                n_expired += 1
        return n_expired

    def free_slots(self) -> list[int]:
        """The slots without an object, evicted or expired.

        Costs some 0.1 us a slot. Hold the lock of changes.
        """
        self.expire()
        words = self._words.tolist()
        return [
            slot
            for slot in range(self.n_slots)
            if words[slot * _WORDS + _GENERATION]
            <= words[slot * _WORDS + _EVICTED]
            < _LAST_GENERATION
        ]


def slab_nbytes(slot_nbytes: int, n_slots: int) -> int:
    """Bytes of the file of a slab."""
    return _start_of_slots(n_slots) + slot_nbytes * n_slots


def _start_of_slots(n_slots: int) -> int:
    page = mmap.PAGESIZE
    return -(-(_TABLE + n_slots * _WORDS * 8) // page) * page


def _mapped(fd: int, nbytes: int) -> mmap.mmap:
    if sys.version_info >= (3, 13):
        # Without a descriptor of its own.
        return mmap.mmap(fd, nbytes, trackfd=False)
    return mmap.mmap(fd, nbytes)
