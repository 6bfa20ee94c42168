"""Measures tasks that do nothing much, given to an engine as it is or by `StoreExecutor`.

The argument says which, with two processes each: ``pool``, ``dask`` or ``parsl``.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# Any throughout: arrays and proxies of them, and what the engines give.

_N_PROCESSES = 2
_MIN_NBYTES = 100_000


def touch(argument: Any) -> float:
    """The task: look at one item."""
    return float(argument[-1])


@contextmanager
def pool() -> Iterator[Executor]:
    """The process pool of the standard library."""
    with ProcessPoolExecutor(_N_PROCESSES) as executor:
        yield executor


@contextmanager
def dask() -> Iterator[Any]:
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
        yield client.get_executor(pure=False)


@contextmanager
def parsl() -> Iterator[Any]:
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
            yield submitting


ENGINES = {"pool": pool, "dask": dask, "parsl": parsl}


def seconds(executor: Any, request: dict[str, Any]) -> float:
    """Of so many tasks, each with its argument."""
    array = np.random.default_rng(0).random(max(1, request["nbytes"] // 8))
    start = time.perf_counter()
    futures = [executor.submit(touch, array) for _ in range(request["n"])]
    results = [future.result() for future in futures]
    elapsed = time.perf_counter() - start
    if results != [array[-1]] * len(results):
        raise RuntimeError("A task saw other data than it was given.")
    return elapsed


def main() -> None:
    """Serve the driver on standard input."""
    from proxystore.store import Store
    from proxystore_patterns.executors import ProxySize, StoreExecutor

    with ENGINES[sys.argv[1]]() as plain, Store() as store:
        by_store = StoreExecutor(plain, store, ProxySize(_MIN_NBYTES), close_store=False)
        executors = {"value": plain, "store": by_store}
        for line in sys.stdin:
            request = json.loads(line)
            print(json.dumps(seconds(executors[request["by"]], request)), flush=True)


if __name__ == "__main__":
    main()
