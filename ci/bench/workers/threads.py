"""Measures 8 threads that get 8 keys from a connector whose reads take 0.1 s."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any, NamedTuple, Self

from proxystore.store import Store


class SlowKey(NamedTuple):
    """A key of `SlowConnector`."""

    number: int


class SlowConnector:
    """A connector of the older contract (bytes only) on a medium with latency."""

    def __init__(self) -> None:
        self.objects: dict[SlowKey, bytes] = {}

    def put(self, obj: bytes) -> SlowKey:
        """Keep a copy."""
        key = SlowKey(len(self.objects))
        self.objects[key] = bytes(obj)
        return key

    def get(self, key: SlowKey) -> bytes | None:
        """The object, after a tenth of a second."""
        time.sleep(0.1)
        return self.objects.get(key)

    def exists(self, key: SlowKey) -> bool:
        """Whether it was put."""
        return key in self.objects

    def evict(self, key: SlowKey) -> None:
        """Forget it."""
        self.objects.pop(key, None)

    def put_batch(self, objs: list[bytes]) -> list[SlowKey]:
        """One after the other."""
        return [self.put(obj) for obj in objs]

    def get_batch(self, keys: list[SlowKey]) -> list[bytes | None]:
        """One after the other."""
        return [self.get(key) for key in keys]

    def close(self) -> None:
        """Nothing to release."""

    def config(self) -> dict[str, Any]:
        """No options."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """A connector of its own; nothing here crosses processes."""
        return cls(**config)


def eight_by_eight() -> float:
    """Seconds until 8 threads have each got the same 8 objects."""
    store = Store("slow", SlowConnector(), cache_size=16)
    keys = [store.put(number) for number in range(8)]
    gate = threading.Barrier(9)

    def get_all(first: int) -> None:
        gate.wait()
        for step in range(8):
            number = (first + step) % 8
            if store.get(keys[number]) != number:
                raise RuntimeError("Got the object of another key.")

    threads = [threading.Thread(target=get_all, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    gate.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - start
    store.close()
    return elapsed


for line in sys.stdin:
    print(json.dumps([eight_by_eight() for _ in range(json.loads(line)["n"])]), flush=True)
