"""Measures operations on resolved proxies of one implementation, named by the first argument.

``c`` and ``pure`` are this repository's, ``proxystore`` is whatever has that name here.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import timeit

_TYPES = {
    "c": ("proxystore.proxy", "Proxy"),
    "pure": ("proxystore.proxy", "Proxy"),
    "proxystore": ("proxystore.proxy", "Proxy"),
    "lazy-object-proxy": ("lazy_object_proxy", "Proxy"),
    "wrapt": ("wrapt", "LazyObjectProxy"),
}
_STATEMENTS = {
    "getattr": "thing.field",
    "method call": "thing.method()",
    "item": "items[1]",
    "len": "len(items)",
    "add": "number + 1",
    "bool": "bool(items)",
    "isinstance": "isinstance(thing, Thing)",
    "create": "Proxy(Thing)",
}
# Repeated in the body of the loop, so that the loop itself does not count.
_UNROLLED = 20


class Thing:
    """A target."""

    field = 1

    def method(self) -> int:
        """Do next to nothing."""
        return 1


def _proxy_type(implementation: str):
    os.environ["PROXYSTORE_PURE_PYTHON"] = "1" if implementation == "pure" else ""
    module, name = _TYPES[implementation]
    found = getattr(importlib.import_module(module), name)
    if implementation == "c" and found is not importlib.import_module("proxystore.proxy._c").Proxy:
        raise RuntimeError("This proxystore-core was built without a C compiler.")
    return found


Proxy = _proxy_type(sys.argv[1])
thing, items, number = Proxy(Thing), Proxy(lambda: [1, 2, 3]), Proxy(lambda: 12345)
if (thing.field, len(items), number + 1) != (1, 3, 12346):  # Resolves them.
    raise RuntimeError("These proxies do not work.")
setup = "Proxy, Thing, thing, items, number = Proxy_, Thing_, thing_, items_, number_"
names = {"Proxy_": Proxy, "Thing_": Thing, "thing_": thing, "items_": items, "number_": number}
timers = {
    operation: timeit.Timer("; ".join([statement] * _UNROLLED), setup, globals=names)
    for operation, statement in _STATEMENTS.items()
}
for line in sys.stdin:
    request = json.loads(line)
    # The quickest: whatever disturbs a run makes it longer.
    seconds = min(timers[request["op"]].repeat(5, request["n"]))
    print(json.dumps(seconds / request["n"] / _UNROLLED * 1e9), flush=True)
