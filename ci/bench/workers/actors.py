"""Measures `ray.put`, an actor of Ray that is given the object, and its first use in there.

Between the two processes is what Ray has there, a call of the actor, where `roundtrip.py`
has a pipe. Each reference is let go before the next object is put. Ray frees what
nobody refers to once a second: before the next large object it is given the time, or it
would fill new pages, which takes it ten times longer.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_OBJECT_STORE_NBYTES = 4 << 30
_WAITS_FROM_NBYTES = 10_000_000
_FREED_SECONDS = 1.2


class Consumer:
    """The other process."""

    # Any: what Ray makes of the reference that it is called with, a read-only array.
    def touch(self, array: Any, op: str) -> float:
        """Use the array; Ray got it before it called this."""
        return float(array.sum()) if op == "every byte" else float(array[-1])


# Any: handles and references of Ray.
def once(consumer: Any, array: Any, op: str) -> float:
    """Seconds for one object."""
    import ray

    if array.nbytes >= _WAITS_FROM_NBYTES:
        time.sleep(_FREED_SECONDS)
    start = time.perf_counter()
    reference = ray.put(array)
    touched = ray.get(consumer.touch.remote(reference, op))
    elapsed = time.perf_counter() - start
    if touched != float(array.sum() if op == "every byte" else array[-1]):
        raise RuntimeError(f"Read {touched} where something else was stored.")
    return elapsed


@contextmanager
def started() -> Iterator[Any]:
    """An actor in a cluster of this node, which ends with the block."""
    # Listens on loopback only, as it does by itself on macOS; what says so is its own variable.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_AUTH_MODE"] = "disabled"
    import ray

    ray.init(
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=_OBJECT_STORE_NBYTES,
        configure_logging=False,
    )
    try:
        yield ray.remote(Consumer).remote()
    finally:
        ray.shutdown()


def main() -> None:
    """Serve the driver on standard input."""
    with started() as consumer:
        for line in sys.stdin:
            request = json.loads(line)
            array = np.random.default_rng(0).random(max(1, request["nbytes"] // 8))
            seconds = [once(consumer, array, request["op"]) for _ in range(request["n"])]
            print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
