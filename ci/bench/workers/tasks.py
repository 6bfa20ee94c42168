"""Measures tasks of a process pool that do nothing, with an argument by value or by proxy."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np


def touch(argument: Any) -> float:
    """The task: look at one item."""
    return float(argument[-1])


def seconds(pool: ProcessPoolExecutor, store: Any, request: dict[str, Any]) -> float:
    """Of so many tasks, each with an argument of its own."""
    array = np.random.default_rng(0).random(max(1, request["nbytes"] // 8))
    start = time.perf_counter()
    futures = []
    for _ in range(request["n"]):
        argument = store.proxy(array, evict=True) if request["by"] == "proxy" else array
        futures.append(pool.submit(touch, argument))
    results = [future.result() for future in futures]
    elapsed = time.perf_counter() - start
    if results != [array[-1]] * len(results):
        raise RuntimeError("A task saw other data than it was given.")
    return elapsed


def main() -> None:
    """Serve the driver on standard input."""
    from proxystore.store import Store

    with ProcessPoolExecutor(2) as pool, Store("bench") as store:
        for line in sys.stdin:
            print(json.dumps(seconds(pool, store, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
