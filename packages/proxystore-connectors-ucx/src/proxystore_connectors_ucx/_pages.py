"""Memory to receive objects in, taken again once nobody has a view of it."""

from __future__ import annotations

import ctypes
import mmap
import weakref
from contextlib import suppress
from pickle import PickleBuffer

__all__ = ["Pages"]

_HUGE_NBYTES = 1 << 21
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_MOST_WASTE = 2


class Pages:
    """Private memory for objects. Thread safe.

    The system zeroes new pages, which takes as long as to copy an object into them (ADR
    0004). So those of a large object are kept when the last view of it is gone, and the
    next object goes there. The system may take them back meanwhile.

    Args:
        max_nbytes: Bytes to keep at most.
    """

    def __init__(self, max_nbytes: int) -> None:
        self._max_nbytes = max_nbytes
        # Changed by single operations of a list alone, with no lock: `_keep` runs wherever
        # garbage is collected, also in the midst of the other methods.
        self._kept: list[mmap.mmap] = []

    @property
    def nbytes(self) -> int:
        """Bytes that are kept for the next objects."""
        return sum(map(len, self._kept.copy()))

    def take(self, nbytes: int) -> memoryview:
        """Memory for an object: with zeros, or whatever was there before.

        Raises:
            MemoryError: The system has none.
        """
        if nbytes < _HUGE_NBYTES:
            return memoryview(bytearray(nbytes))
        pages = self._kept_pages(nbytes) or _fresh_pages(nbytes)
        # What every view of the memory refers to, and nothing else.
        held = (ctypes.c_ubyte * nbytes).from_buffer(pages)
        weakref.finalize(held, self._keep, pages).atexit = False
        return PickleBuffer(held).raw()

    def trim(self, nbytes: int) -> None:
        """Keep at most ``nbytes``, the last that were used."""
        while self.nbytes > nbytes:
            # Empty: another thread was quicker.
            with suppress(IndexError):
                self._kept.pop(0)

    def release(self) -> None:
        """Keep nothing, from now on."""
        self._max_nbytes = 0
        self.trim(0)

    def _kept_pages(self, nbytes: int) -> mmap.mmap | None:
        for pages in sorted(self._kept.copy(), key=len):
            if nbytes <= len(pages) <= _MOST_WASTE * nbytes:
                with suppress(ValueError):
                    self._kept.remove(pages)
                    return pages
        return None

    def _keep(self, pages: mmap.mmap) -> None:
        # Where memory is short the system takes them, as if they were not kept.
        with suppress(OSError):
            pages.madvise(mmap.MADV_FREE)
        self._kept.append(pages)
        self.trim(self._max_nbytes)


def _fresh_pages(nbytes: int) -> mmap.mmap:
    try:
        pages = mmap.mmap(-1, nbytes, flags=_PRIVATE)
    except OSError as exc:
        raise MemoryError(exc.strerror) from exc
    # Small pages cost 45 ms of faults per 100 MB, huge ones 16.
    pages.madvise(mmap.MADV_HUGEPAGE)
    return pages
