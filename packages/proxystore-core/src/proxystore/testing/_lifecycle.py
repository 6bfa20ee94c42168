"""What holds for closing, owning, threads and forks."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from proxystore.abc import Capability, Key
from proxystore.errors import ClosedError, ConnectorUnavailableError, NotOwnerError
from proxystore.testing._claims import Suite, requires
from proxystore.testing._forked import in_forked_child
from proxystore.testing._objects import read
from proxystore.testing._samples import Content, pattern
from proxystore.testing._subject import Subject

__all__ = ["CloseContract", "ForkContract", "OwnershipContract", "ThreadContract"]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")


class CloseContract(Suite):
    """Closing ends one connector, once."""

    def test_closing_twice_is_not_an_error(self, connector: Subject) -> None:
        connector.close()
        connector.close()

    def test_leaving_a_with_block_closes(self, connector: Subject) -> None:
        with connector as entered:
            assert entered is connector
        with pytest.raises(ClosedError):
            connector.put(b"x")

    @pytest.mark.parametrize("method", ["put", "put_batch", "get", "get_batch", "exists", "evict"])
    def test_use_after_close_raises_closed_error(self, connector: Subject, method: str) -> None:
        key = connector.put(b"x")
        arguments: dict[str, Any] = {"put": b"x", "put_batch": [b"x"], "get_batch": [key]}
        connector.close()
        with pytest.raises(ClosedError):
            getattr(connector, method)(arguments.get(method, key))

    @requires(Capability.DEFERRABLE)
    def test_set_and_new_key_after_close_raise_closed_error(self, connector: Subject) -> None:
        key = connector.new_key()
        connector.close()
        with pytest.raises(ClosedError):
            connector.set(key, b"x")
        with pytest.raises(ClosedError):
            connector.new_key()


class OwnershipContract(Suite):
    """Only the owner's close clears the medium."""

    def test_closing_a_rebuilt_connector_clears_nothing(self, connector: Subject) -> None:
        key = connector.put(b"still here")
        other = self.another(connector)
        own = other.put(b"from the other")
        assert b"still here" == read(other, key)
        other.close()
        assert b"still here" == read(connector, key)
        assert b"from the other" == read(connector, own)

    def test_a_rebuilt_connector_may_not_clear(self, connector: Subject) -> None:
        key = connector.put(b"still here")
        other = self.another(connector)
        assert b"still here" == read(other, key)
        with pytest.raises(NotOwnerError):
            other.close(clear=True)
        other.close(clear=False)
        assert b"still here" == read(connector, key)

    def test_close_without_clear_keeps_the_objects(self, connector: Subject) -> None:
        key = connector.put(b"kept")
        with self.another(connector) as other:
            connector.close(clear=False)
            assert b"kept" == read(other, key)

    @requires("owns_medium")
    def test_the_owners_close_clears(self, connector: Subject) -> None:
        key = connector.put(b"x")
        with self.another(connector) as other:
            connector.close()
            assert not _finds(other, key)


def _finds(connector: Subject, key: Key) -> bool:
    try:
        return connector.get(key) is not None
    except ConnectorUnavailableError:  # The medium itself went with its owner.
        return False


class ThreadContract(Suite):
    """One connector serves many threads."""

    def test_threads_store_and_read_their_own_objects(self, connector: Subject) -> None:
        threads, each = 8, 6
        together = threading.Barrier(threads, timeout=30)

        def work(thread: int) -> list[tuple[Key, int]]:
            together.wait()
            return [(connector.put(pattern(2000, n)), n) for n in range(thread, each * 8, 8)]

        with ThreadPoolExecutor(threads) as pool:
            stored = [pair for pairs in pool.map(work, range(threads)) for pair in pairs]
            assert threads * each == len({key for key, _ in stored})
            found = list(pool.map(lambda pair: read(connector, pair[0]), stored))
        assert [Content(pattern(2000, n)) for _, n in stored] == [Content(data) for data in found]

    def test_threads_share_an_object(self, connector: Subject) -> None:
        key = connector.put(pattern(100_000))
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(lambda _: read(connector, key), range(32)))
        assert {Content(data) for data in found} == {Content(pattern(100_000))}


class ForkContract(Suite):
    """A forked child has a connector that works, and cannot hurt its parent's."""

    @needs_fork
    def test_closing_in_a_forked_child_leaves_the_parents_objects(self, connector: Subject) -> None:
        key = connector.put(b"of the parent")
        view = connector.get(key)
        in_forked_child(connector.close)
        assert b"of the parent" == read(connector, key)
        assert view is not None
        assert b"of the parent" == bytes(view)
        assert b"later" == read(connector, connector.put(b"later"))

    @needs_fork
    @requires(Capability.CROSS_PROCESS)
    def test_a_forked_child_reads_and_writes(self, connector: Subject) -> None:
        key = connector.put(b"of the parent")

        def child() -> tuple[bytes, Key]:
            return read(connector, key), tuple(connector.put(b"of the child"))

        found, raw = in_forked_child(child)
        assert b"of the parent" == found
        assert b"of the child" == read(connector, connector.key_type(*raw))

    @needs_fork
    @requires(Capability.CROSS_PROCESS)
    def test_parent_and_forked_child_never_make_equal_keys(self, connector: Subject) -> None:
        connector.put(b"so that whatever makes keys has begun")
        child = in_forked_child(lambda: [tuple(connector.put(b"child")) for _ in range(5)])
        parent = [tuple(connector.put(b"parent")) for _ in range(5)]
        assert len({*child, *parent}) == 10
