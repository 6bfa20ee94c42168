"""Another process: runs the Python that it is told to, until its input ends.

Reads pickles of ``(code, variables)`` and answers each by one of ``(error, value of `result`)``.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import sys
from typing import Any

OPERATIONS = ("put", "get", "get_with_generation", "exists", "evict", "set", "replace", "touch")


def die_at(store: Any, step: int) -> None:
    """kill -9 this process before operation ``step`` of the store, counted from now on."""
    connector, count = store.connector, 0

    def deadly(operation: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*args, **kwargs)

        return call

    for name in OPERATIONS:
        if hasattr(connector, name):
            setattr(connector, name, deadly(getattr(connector, name)))


def main() -> None:
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    space: dict[str, Any] = {"die_at": die_at, "pickle": pickle}
    exec("from proxystore_patterns.ownership import *", space)
    exec("from proxystore.proxy import *", space)
    exec("from proxystore.store import Store, get_store", space)
    space["kept"] = {*space, "kept", "result", "gc", "name"}
    while header := source.read(8):
        code, variables = pickle.loads(source.read(*struct.unpack("!q", header)))
        space |= {"result": None} | variables
        try:
            exec(code, space)
            answer = pickle.dumps((None, space.pop("result")))
        except Exception as error:
            answer = pickle.dumps((error, None))
            # Its frames hold proxies.
            del error
        for name in variables:
            space.pop(name, None)
        sink.write(struct.pack("!q", len(answer)) + answer)
        sink.flush()


if __name__ == "__main__":
    sys.exit(main())
