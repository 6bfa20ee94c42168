"""Measures 8 threads that get 8 keys from a connector whose reads take 0.1 s."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import NamedTuple

from proxystore.store import Store


class SlowKey(NamedTuple):
    """A key of `SlowConnector`."""

    number: int


class SlowConnector:
    """A connector of the older contract (bytes only) on a medium with latency."""

    def __init__(self):
        self.objects = {}

    def put(self, obj):
        key = SlowKey(len(self.objects))
        self.objects[key] = bytes(obj)
        return key

    def get(self, key):
        time.sleep(0.1)
        return self.objects.get(key)

    def exists(self, key):
        return key in self.objects

    def evict(self, key):
        self.objects.pop(key, None)

    def put_batch(self, objs):
        return [self.put(obj) for obj in objs]

    def get_batch(self, keys):
        return [self.get(key) for key in keys]

    def close(self):
        pass

    def config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def eight_by_eight():
    """Seconds until 8 threads have each got the same 8 objects."""
    store = Store("slow", SlowConnector(), cache_size=16)
    keys = [store.put(number) for number in range(8)]
    gate = threading.Barrier(9)

    def get_all(first):
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
