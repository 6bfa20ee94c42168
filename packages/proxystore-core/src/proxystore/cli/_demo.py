"""`proxystore demo`: the same tasks by value and by proxy, timed and compared."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from proxystore.cli._table import print_table, size
from proxystore.store import Store

__all__ = ["DESCRIPTION", "arguments", "run"]

DESCRIPTION = """\
Give the same data to tasks on a process pool, once by value and once by proxy,
check that both see the same bytes, and print how long each took.

The task is ordinary code: it does not know whether it was given the data or a
proxy of it. By value, the data is pickled and sent once a task; by proxy, it is
stored once in shared memory, and each task is sent a reference."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `demo`."""
    parser.add_argument("--mib", type=_positive, default=64, help="size of the data (default 64)")
    parser.add_argument("--tasks", type=_positive, default=16, help="how many (default 16)")


def count_zeros(data: bytearray) -> int:
    """The task: read every byte."""
    return data.count(0)


def run(parsed: argparse.Namespace) -> int:
    """Time both ways; 1 if a task saw other bytes than were stored."""
    data = bytearray(range(256)) * (parsed.mib * 4096)
    expected = parsed.mib * 4096
    with ProcessPoolExecutor(2) as pool, Store("demo") as store:
        list(pool.map(count_zeros, [bytearray(1)] * 4))  # Starts the workers.
        by_value, right = _timed(pool, lambda: data, parsed.tasks, expected)
        proxied: list[object] = []

        def proxy_once() -> object:
            if not proxied:
                proxied.append(store.proxy(data))
            return proxied[0]

        by_proxy, also_right = _timed(pool, proxy_once, parsed.tasks, expected)
    verdict = {True: "verified", False: "WRONG"}
    print(f"{parsed.tasks} tasks that read {size(len(data))} each, on 2 processes:\n")
    print_table(
        ("PASSED BY", " SECONDS", "RESULT"),
        (
            ("value", f"{by_value:.3f}", verdict[right]),
            ("proxy", f"{by_proxy:.3f}", verdict[also_right]),
        ),
    )
    print(f"\nBy proxy it took {by_value / by_proxy:.1f} times less time.")
    return 0 if right and also_right else 1


def _timed(
    pool: ProcessPoolExecutor, argument: Callable[[], object], n_tasks: int, expected: int
) -> tuple[float, bool]:
    start = time.perf_counter()
    futures = [pool.submit(count_zeros, argument()) for _ in range(n_tasks)]  # type: ignore[arg-type]
    right = all(future.result() == expected for future in futures)
    return time.perf_counter() - start, right


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number
