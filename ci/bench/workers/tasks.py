"""Measures tasks that do nothing much, given to an engine with their arguments in several ways.

By value, by proxy, by a proxy that carries them, or by value to a `StoreExecutor`. The argument
says which engine, with two processes each: ``pool``, ``dask`` or ``parsl``.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# Any throughout: arrays and proxies of them, and what the engines give.

_N_PROCESSES = 2
_CARRIED_NBYTES = 16_384
_MIN_NBYTES = 100_000


class Engine(NamedTuple):
    """Two executors of one engine, which may be the same."""

    plain: Any
    """As the engine has it."""
    under_store: Any
    """As advised for a `StoreExecutor`."""


def touch(argument: Any) -> float:
    """The task: look at one item."""
    return float(argument[-1])


@contextmanager
def pool() -> Iterator[Engine]:
    """The process pool of the standard library."""
    with ProcessPoolExecutor(_N_PROCESSES) as executor:
        yield Engine(executor, executor)


@contextmanager
def dask() -> Iterator[Engine]:
    """A cluster of Dask on this node."""
    import distributed

    from proxystore_patterns.executors.dask import DaskExecutor

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
        yield Engine(client.get_executor(pure=False), DaskExecutor(client))


@contextmanager
def parsl() -> Iterator[Engine]:
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
            yield Engine(submitting, submitting)


ENGINES = {"pool": pool, "dask": dask, "parsl": parsl}


def seconds(executor: Any, argument_of: Callable[[Any], Any], nbytes: int, n: int) -> float:
    """Of ``n`` tasks, each with an argument of its own."""
    array = np.random.default_rng(0).random(max(1, nbytes // 8))
    start = time.perf_counter()
    futures = [executor.submit(touch, argument_of(array)) for _ in range(n)]
    results = [future.result() for future in futures]
    elapsed = time.perf_counter() - start
    if results != [array[-1]] * n:
        raise RuntimeError("A task saw other data than it was given.")
    return elapsed


def main() -> None:
    """Serve the driver on standard input."""
    from proxystore.store import Store
    from proxystore_patterns.executors import ProxySize, StoreExecutor

    with (
        ENGINES[sys.argv[1]]() as engine,
        Store("bench") as stored,
        Store("carried", inline_nbytes=_CARRIED_NBYTES) as carried,
    ):
        by_store = StoreExecutor(
            engine.under_store, stored, ProxySize(_MIN_NBYTES), close_store=False
        )
        ways: dict[str, tuple[Any, Callable[[Any], Any]]] = {
            "value": (engine.plain, lambda array: array),
            "proxy": (engine.plain, partial(stored.proxy, evict=True)),
            "carried": (engine.plain, partial(carried.proxy, evict=True)),
            "executor": (by_store, lambda array: array),
        }
        for line in sys.stdin:
            request = json.loads(line)
            print(json.dumps(seconds(*ways[request.pop("by")], **request)), flush=True)


if __name__ == "__main__":
    main()
