"""Forked children and killed writers: they work, or leave the others be."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys

import pytest

from proxystore.abc import Key
from proxystore.testing import Peer
from proxystore_connectors_obstore import ObstoreConnector

_inherited: list[ObstoreConnector] = []


def _read_by_inherited(key: Key) -> bytes:
    found = _inherited[0].get(key)
    return b"" if found is None else bytes(found)


def test_a_forked_pool_reads_what_its_parent_wrote_and_leaves_it_be(
    connector: ObstoreConnector,
) -> None:
    keys = connector.put_batch([b"%d" % n for n in range(8)])
    _inherited[:] = [connector]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_read_by_inherited, keys) == [b"%d" % n for n in range(8)]
    assert connector.get_batch(keys) == [b"%d" % n for n in range(8)]


@pytest.mark.slow
def test_a_forked_child_that_ends_in_the_usual_way_does_not_disturb_its_parent(
    connector: ObstoreConnector,
) -> None:
    code = CHILD.format(config=connector.config())
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "undisturbed\n"), done.stderr


CHILD = """
import os, sys, time
from proxystore_connectors_obstore import ObstoreConnector
connector = ObstoreConnector.from_config({config!r})
key = connector.put(b"x")
for _ in range(3):
    child = os.fork()
    if child == 0:
        assert connector.get(key) == b"x"
        sys.exit(0)  # with all that the interpreter does at its end
    assert os.waitpid(child, 0)[1] == 0
    start = time.monotonic()
    assert connector.get(key) == b"x"
    assert time.monotonic() - start < 5
print("undisturbed")
"""


def test_an_object_is_whole_or_absent_when_its_writer_is_killed(
    connector: ObstoreConnector,
) -> None:
    data = bytes(range(256)) * 40_000
    keys = [connector.new_key() for _ in range(6)]
    for key in keys:
        with Peer(connector) as writer:
            writer.call("exists", key)
            writer.ask("set", key, data)
            writer.kill()
    assert all(found is None or found == data for found in connector.get_batch(keys))
