"""Stores whose objects can be counted."""

import os
import sys
from pathlib import Path

import pytest

from proxystore.store import Store

# Workers of engines import what they are to run, so it is in no test file.
_TASKS = str(Path(__file__).with_name("tasks"))
sys.path.insert(0, _TASKS)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_TASKS, os.environ.get("PYTHONPATH")]))


@pytest.fixture
def counted():
    """A store in shared memory, and how many objects there are in it."""
    with Store() as store:
        yield store, lambda: sum(1 for _ in store.connector.entries())
