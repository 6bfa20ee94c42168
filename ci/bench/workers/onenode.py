"""What people use to pass arrays between the processes of one node, in place of a store."""

from __future__ import annotations

import os
import tempfile
from multiprocessing import shared_memory
from typing import Any

import numpy as np
from media import Reference

# Any throughout: arrays of any type, and what other libraries give.


class ByValue:
    """The array itself, pickled, and sent through the pipe."""

    def proxy(self, array: Any) -> Any:
        """As `Medium.proxy`."""
        return array

    def evict(self, proxy: Any) -> None:
        """As `Medium.evict`."""


class Joblib:
    """`joblib.dump` to shared memory, `joblib.load` as a mapping."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm")

    def proxy(self, array: Any) -> Reference:
        """As `Medium.proxy`."""
        import joblib

        path = f"{self.folder.name}/{os.urandom(8).hex()}"
        joblib.dump(array, path)
        return Reference(joblib_load, (path,))

    def evict(self, proxy: Reference) -> None:
        """As `Medium.evict`."""
        os.unlink(proxy.place[0])


def joblib_load(path: str) -> Any:
    """The array, mapped."""
    import joblib

    return joblib.load(path, mmap_mode="c")


class SharedMemory:
    """A block of `multiprocessing.shared_memory` for each array."""

    def __init__(self) -> None:
        self.blocks: dict[str, shared_memory.SharedMemory] = {}

    def proxy(self, array: Any) -> Reference:
        """As `Medium.proxy`."""
        block = shared_memory.SharedMemory(create=True, size=array.nbytes)
        np.ndarray(array.shape, array.dtype, block.buf)[:] = array
        self.blocks[block.name] = block
        return Reference(attach, (block.name, array.nbytes))

    def evict(self, proxy: Reference) -> None:
        """As `Medium.evict`."""
        block = self.blocks.pop(proxy.place[0])
        block.close()
        block.unlink()


_attached: dict[str, shared_memory.SharedMemory] = {}


def attach(name: str, nbytes: int) -> memoryview:
    """The array's bytes. The block before it is closed, as nobody uses it any more."""
    from multiprocessing import resource_tracker

    for other in [other for other in _attached if other != name]:
        _attached.pop(other).close()
    if name not in _attached:
        _attached[name] = shared_memory.SharedMemory(name)
        # Or it would be removed when this process ends, and warned of.
        resource_tracker.unregister(f"/{name}", "shared_memory")
    return _attached[name].buf[:nbytes]


MEDIA = {"by value": ByValue, "joblib": Joblib, "shared_memory": SharedMemory}
