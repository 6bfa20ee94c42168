"""Measures futures of a store: how soon a result is there, and what a chain of tasks takes.

The first argument is the name of a medium of `media.py`, the second its options as
JSON. The same file runs in the environment of this repository and in that of the
older system.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

# Isolated interpreters do not look beside the script.
sys.path.insert(0, str(Path(__file__).parent))

import media

# Any throughout: stores and futures of two systems.


def make_future(store: Any, options: dict[str, Any]) -> Any:
    """A future of whichever system this is; ``options`` are for the older one, which polls."""
    try:
        from proxystore_patterns.futures import future
    except ImportError:
        return store.future(**options)
    return future(store)


def arrival(awaited: Any) -> int:
    """When, in ns of the clock that processes share, the result was there."""
    awaited.result()
    return time.monotonic_ns()


def latencies(pool: ProcessPoolExecutor, store: Any, request: dict[str, Any]) -> list[float]:
    """Seconds from before a result is set until another process, which waits, has it."""
    found = []
    for number in range(request["n"]):
        made = make_future(store, request["options"])
        waiting = pool.submit(arrival, made)
        # It waits by then; not always for as long, for one who polls may be lucky.
        time.sleep(0.02 + 0.0007 * (number % 10))
        start = time.monotonic_ns()
        made.set_result(b"x" * request["nbytes"])
        found.append((waiting.result() - start) / 1e9)
        store.evict(key_of(made))
    return found


def key_of(made: Any) -> Any:
    """Of the result."""
    return made.key if hasattr(made, "key") else made._factory.key


def stage(value: Any, output: Any, setup_s: float, work_s: float) -> Any:
    """A task of which a part does not need its input, such as imports or a model to load."""
    time.sleep(setup_s)
    result = np.asarray(value) + 1
    time.sleep(work_s)
    if output is None:
        return result
    output.set_result(result)
    return None


def makespan(pool: ProcessPoolExecutor, store: Any, request: dict[str, Any]) -> float:
    """Seconds for the chain."""
    value: Any = np.zeros(request["nbytes"] // 8)
    times = request["setup_s"], request["work_s"]
    start = time.perf_counter()
    if request["by"] == "value":
        for _ in range(request["n"]):
            value = pool.submit(stage, value, None, *times).result()
    else:
        made = [make_future(store, request["options"]) for _ in range(request["n"])]
        for each in made:
            pool.submit(stage, value, each, *times)
            value = each.proxy()
        value = made[-1].result()
    elapsed = time.perf_counter() - start
    if float(value[-1]) != request["n"]:
        raise RuntimeError(f"The chain gave {value[-1]} where {request['n']} is right.")
    return elapsed


def main() -> None:
    """Serve the driver on standard input."""
    with ProcessPoolExecutor(2) as pool, media.opened(sys.argv[1], json.loads(sys.argv[2])) as made:
        store = made.store
        for line in sys.stdin:
            request = json.loads(line)
            measured = latencies if request["op"] == "latency" else makespan
            print(json.dumps(measured(pool, store, request)), flush=True)


if __name__ == "__main__":
    main()
