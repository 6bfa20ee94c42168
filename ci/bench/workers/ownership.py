"""Measures owned proxies of one system, named by the first argument: ``ours`` or ``proxystore``.

Objects are in shared memory: in the default store of ours, in files of the other.
"""

from __future__ import annotations

import json
import pickle
import sys
import tempfile
import time
import timeit
from collections.abc import Callable

import numpy as np

from proxystore.store import Store

IS_OURS = sys.argv[1] == "ours"
if IS_OURS:
    from proxystore_patterns.ownership import borrow, drop, mut_borrow, own
else:
    from proxystore.connectors.file import FileConnector
    from proxystore.store.ref import borrow, mut_borrow

    def own(store: Store, obj: object):
        """As ours."""
        return store.owned_proxy(obj)

    def drop(proxy: object) -> None:
        """Its object goes with the proxy."""


_STATEMENTS = {
    "getattr": "thing.field",
    "method call": "thing.method()",
    "item": "items[1]",
    "len": "len(items)",
}
# Repeated in the body of the loop, so that the loop itself does not count.
_UNROLLED = 20


class Thing:
    """A target."""

    field = 1

    def method(self) -> int:
        """Do next to nothing."""
        return 1


def _timers(make: Callable[[object], object]) -> dict[str, timeit.Timer]:
    names = {"thing_": make(Thing()), "items_": make([1, 2, 3])}
    setup = "thing, items = thing_, items_"
    return {
        operation: timeit.Timer("; ".join([statement] * _UNROLLED), setup, globals=names)
        for operation, statement in _STATEMENTS.items()
    }


def _own(nbytes: int) -> None:
    drop(own(store, bytes(nbytes)))


def _borrow(_: int) -> None:
    borrow(owners[0])


def _mut_borrow(_: int) -> None:
    mut_borrow(owners[0])


def _move(nbytes: int) -> None:
    proxy = pickle.loads(pickle.dumps(own(store, arrays[nbytes])))
    if proxy[-1] != 0:
        raise RuntimeError("These proxies do not work.")
    drop(proxy)


def _pass_plainly(nbytes: int) -> None:
    if pickle.loads(pickle.dumps(arrays[nbytes], protocol=5))[-1] != 0:
        raise RuntimeError("This pickle does not work.")


_CALLS = {
    "own": _own,
    "borrow": _borrow,
    "mut_borrow": _mut_borrow,
    "move": _move,
    "plain": _pass_plainly,
}

with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
    store = Store("bench") if IS_OURS else Store("bench", FileConnector(folder), register=True)
    arrays = {nbytes: np.zeros(nbytes // 8) for nbytes in (1_000, 1_000_000, 10_000_000)}
    owners = [own(store, [1, 2, 3])]
    kinds = {"owned": _timers(lambda obj: own(store, obj)), "plain": _timers(store.proxy)}
    for line in sys.stdin:
        request = json.loads(line)
        if "use" in request:
            # The quickest: whatever disturbs a run makes it longer.
            best = min(kinds[request["kind"]][request["use"]].repeat(5, 300))
            answer = best / 300 / _UNROLLED * 1e9
        else:
            call, nbytes = _CALLS[request["call"]], request["nbytes"]
            begun = time.perf_counter()
            for _ in range(request["n"]):
                call(nbytes)
            answer = (time.perf_counter() - begun) / request["n"] * 1e6
        print(json.dumps(answer), flush=True)
    owners.clear()
    kinds.clear()
    store.close()
