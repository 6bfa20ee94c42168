"""Tasks that tests give to executors: in a module that workers can import."""

import gc
import os
import pickle
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from proxystore.proxy import Proxy
from proxystore.store import get_or_create_store
from proxystore_patterns.executors import ProxySize, proxied

LARGE = 10_000


@dataclass
class Pair:
    first: object
    second: object


def zeros(n):
    return np.zeros(n)


def is_proxy(*args, **kwargs):
    return [isinstance(each, Proxy) for each in (*args, *kwargs.values())]


def identity(value):
    return value


def increase(array):
    array += 1
    return array


def in_a_pair(value):
    return Pair(value, 1)


def increased_in_a_dict(array):
    array += 1
    return {"a": array, "n": 1}


def three(value):
    return {"large": np.ones(LARGE), "small": value, "deep": [np.ones(LARGE)]}


def fail(_):
    raise ValueError("a task that fails")


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def nothing(_):
    return None


def true(_):
    return True


def total(*arrays):
    return float(sum(np.sum(each) for each in arrays))


def moved(proxy):
    return pickle.loads(pickle.dumps(proxy))


def total_of_pickled(sent):
    return total(pickle.loads(sent))


def stamp(_):
    return str(uuid.uuid4())


def ones_after(file, n):
    while not file.exists():
        time.sleep(0.01)
    return np.ones(n)


def ones_by_store(reference, n):
    store = get_or_create_store(reference, register=False)
    return proxied(store, ProxySize(1000))(np.ones)(n)


KEPT = []


def keep(value):
    KEPT.append(value)


def kept_total():
    return total(*KEPT)


def drop_kept():
    KEPT.clear()


def append(items):
    items.append(1)
    return len(items)


def memory_nbytes():
    """Of this process, with what it has mapped and touched."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
