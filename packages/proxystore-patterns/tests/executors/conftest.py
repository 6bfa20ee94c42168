"""Stores whose objects can be counted."""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from proxystore.store import Store
from proxystore_patterns.executors import ProxySize, StoreExecutor

# Workers of engines import what they are to run, so it is in no test file.
_TASKS = str(Path(__file__).with_name("tasks"))
sys.path.insert(0, _TASKS)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_TASKS, os.environ.get("PYTHONPATH")]))


@pytest.fixture
def counted():
    """A store in shared memory, and how many objects there are in it."""
    with Store() as store:
        yield store, lambda: sum(1 for _ in store.connector.entries())


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.fixture
def over(counted):
    store, _ = counted
    return lambda pool, policy=ProxySize(1000), **options: StoreExecutor(
        pool, store, policy, close_store=False, **options
    )
