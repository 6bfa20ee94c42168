"""A slab: one mapped file of equal slots, each with a small object.

Only the process that made a slab gives out its slots; every process reads them, and
evicts. A slot's words say which generation of it is there. A reader copies the bytes
and looks at the words again: had the slot been given out anew meanwhile, its generation
would have changed. So nobody waits for anybody, and no read costs a system call.

    0   8s  magic         8   I   bytes of a slot      12  I   number of slots
    64      the words of each slot: generation, length, evicted generation, expiry
    then    the slots, from the next page

The highest bit of a length says that the object was replaced, and is in a file.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Iterator
from typing import Self

from proxystore.errors import CorruptObjectError
from proxystore.host.locks import try_lock
from proxystore.payload import Payload, as_buffers, payload_nbytes

__all__ = ["Slab", "boot_ns"]

_MAGIC = b"PXSLAB\x00\x01"
_HEADER = struct.Struct("=8sII")
_TABLE = 64
_WORDS = 4
_GENERATION, _LENGTH, _EVICTED, _EXPIRY = range(_WORDS)
_MOVED = 1 << 63


def boot_ns() -> int:
    """Nanoseconds since this node booted: one clock for its processes, which nobody sets back."""
    return time.clock_gettime_ns(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Slab:
    """A mapped slab, made here or by another process.

    Reading is safe from any thread and process. `take`, `write` and `give_back` are for the
    process that made it, one thread at a time.

    Args:
        fd: The open file, which may be closed after this.
        slot_nbytes: Bytes of a slot, a multiple of 64.
        n_slots: How many there are.
    """

    __slots__ = ("_data", "_start", "_words", "n_slots", "slot_nbytes")

    def __init__(self, fd: int, slot_nbytes: int, n_slots: int) -> None:
        self.slot_nbytes, self.n_slots = slot_nbytes, n_slots
        self._start = _start_of_slots(n_slots)
        view = memoryview(mmap.mmap(fd, self._start + slot_nbytes * n_slots))
        self._words = view[_TABLE : _TABLE + n_slots * _WORDS * 8].cast("Q")
        self._data = view

    @classmethod
    def create(cls, fd: int, slot_nbytes: int, n_slots: int) -> Self:
        """Make the empty file ``fd`` a slab.

        Raises:
            OSError: There is no room.
        """
        # Reserved, for a store into a hole of a full file system would kill the process.
        os.posix_fallocate(fd, 0, _start_of_slots(n_slots) + slot_nbytes * n_slots)
        # As long as this process lives: the lock belongs to the mapping.
        try_lock(fd)
        slab = cls(fd, slot_nbytes, n_slots)
        _HEADER.pack_into(slab._data, 0, _MAGIC, slot_nbytes, n_slots)
        return slab

    @classmethod
    def attach(cls, fd: int, name: str) -> Self:
        """The slab that another process made of the file ``fd``.

        Raises:
            CorruptObjectError: It is none, or is cut short.
        """
        head = os.pread(fd, _HEADER.size, 0)
        if len(head) == _HEADER.size:
            magic, slot_nbytes, n_slots = _HEADER.unpack(head)
            needed = _start_of_slots(n_slots) + slot_nbytes * n_slots
            if magic == _MAGIC and 0 < needed <= os.fstat(fd).st_size:
                return cls(fd, slot_nbytes, n_slots)
        raise CorruptObjectError(f"slab {name} of shared memory")

    def write(self, slot: int, payload: Payload, expiry: int) -> int:
        """Put an object into a slot that is free; gives the generation by which it is found.

        Args:
            slot: Of this slab, and nobody's.
            payload: At most `slot_nbytes`.
            expiry: As `boot_ns`; 0 for never.
        """
        words, base = self._words, slot * _WORDS
        generation = max(words[base + _GENERATION], words[base + _EVICTED]) + 1
        position = self._start + slot * self.slot_nbytes
        for part in as_buffers(payload):
            end = position + len(part)
            self._data[position:end] = part
            position = end
        words[base + _LENGTH] = payload_nbytes(payload)
        words[base + _EXPIRY] = expiry
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
        nbytes = self._words[slot * _WORDS + _LENGTH]
        if nbytes > self.slot_nbytes:
            # It was moved just now, or the slab is damaged.
            return None
        start = self._start + slot * self.slot_nbytes
        stop = start + nbytes
        start = min(start + offset, stop)
        data = bytearray(self._data[start : stop if length is None else min(start + length, stop)])
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
        """Take the object away, for good; whether it was there. Hold the slab's lock."""
        words, base = self._words, slot * _WORDS
        if not 0 <= slot < self.n_slots or words[base + _GENERATION] != generation:
            return False
        found = words[base + _EVICTED] < generation
        words[base + _EVICTED] = generation
        return found

    def is_moved(self, slot: int, generation: int) -> bool:
        """Whether the object is there, but in a file."""
        return self.holds(slot, generation) and bool(self._words[slot * _WORDS + _LENGTH] & _MOVED)

    def move(self, slot: int) -> None:
        """Say that the object is in a file from now on. Hold the slab's lock."""
        self._words[slot * _WORDS + _LENGTH] |= _MOVED

    def expiry(self, slot: int) -> int:
        """When the object of the slot ends, as `boot_ns`; 0 for never."""
        return self._words[slot * _WORDS + _EXPIRY]

    def renew(self, slot: int, generation: int, expiry: int) -> bool:
        """Let the object end at ``expiry``; whether it is there. Hold the slab's lock."""
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

    def free_slots(self) -> list[int]:
        """The slots without an object, evicted or expired; marks the latter evicted.

        Costs some 50 ns a slot. Hold the slab's lock.
        """
        words, now = self._words.tolist(), boot_ns()
        free = []
        for slot in range(self.n_slots):
            base = slot * _WORDS
            generation, expiry = words[base + _GENERATION], words[base + _EXPIRY]
            if words[base + _EVICTED] < generation:
                if not expiry or now < expiry:
                    continue
                self._words[base + _EVICTED] = generation
            free.append(slot)
        return free


def _start_of_slots(n_slots: int) -> int:
    page = mmap.PAGESIZE
    return -(-(_TABLE + n_slots * _WORDS * 8) // page) * page
