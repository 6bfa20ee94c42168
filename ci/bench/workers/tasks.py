"""Measures tasks that do nothing, with an argument by value, by proxy, or carried in its proxy.

The argument says what runs them, with two processes each: ``pool``, ``dask`` or ``parsl``.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# Any throughout: arrays and proxies of them, and what the engines give.

_N_PROCESSES = 2
_CARRIED_NBYTES = 16_384

Submit = Callable[[Callable[[Any], float], Any], "Future[float]"]


def touch(argument: Any) -> float:
    """The task: look at one item."""
    return float(argument[-1])


@contextmanager
def pool() -> Iterator[Submit]:
    """The process pool of the standard library."""
    with ProcessPoolExecutor(_N_PROCESSES) as executor:
        yield executor.submit


@contextmanager
def dask() -> Iterator[Submit]:
    """A cluster of Dask on this node."""
    import distributed

    # Arguments by value are what is measured, not what Dask advises.
    warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
    # No limit of memory: workers that pause would be what is measured.
    with (
        distributed.LocalCluster(
            n_workers=_N_PROCESSES,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=0,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        # Equal tasks are different ones: Dask would run just one of them.
        yield lambda task, argument: client.submit(task, argument, pure=False)


@contextmanager
def parsl() -> Iterator[Submit]:
    """Parsl's executor of processes."""
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    # Its programs are beside the interpreter.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    executor = HighThroughputExecutor(
        address="127.0.0.1",
        loopback_address="127.0.0.1",
        max_workers_per_node=_N_PROCESSES,
        encrypted=False,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    with tempfile.TemporaryDirectory() as folder:
        # Its processes stay, as those of the others do.
        config = Config([executor], run_dir=folder, strategy="none", initialize_logging=False)
        with ParslPoolExecutor(config) as submitting:
            yield submitting.submit


ENGINES = {"pool": pool, "dask": dask, "parsl": parsl}


def seconds(submit: Submit, store: Any, request: dict[str, Any]) -> float:
    """Of so many tasks, each with an argument of its own; by value without a store."""
    array = np.random.default_rng(0).random(max(1, request["nbytes"] // 8))
    start = time.perf_counter()
    futures = []
    for _ in range(request["n"]):
        argument = store.proxy(array, evict=True) if store else array
        futures.append(submit(touch, argument))
    results = [future.result() for future in futures]
    elapsed = time.perf_counter() - start
    if results != [array[-1]] * len(results):
        raise RuntimeError("A task saw other data than it was given.")
    return elapsed


def main() -> None:
    """Serve the driver on standard input."""
    from proxystore.store import Store

    with (
        ENGINES[sys.argv[1]]() as submit,
        Store("bench") as stored,
        Store("carried", inline_nbytes=_CARRIED_NBYTES) as carried,
    ):
        stores = {"value": None, "proxy": stored, "carried": carried}
        for line in sys.stdin:
            request = json.loads(line)
            print(json.dumps(seconds(submit, stores[request["by"]], request)), flush=True)


if __name__ == "__main__":
    main()
