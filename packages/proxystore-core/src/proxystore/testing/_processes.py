"""What holds between processes that rebuilt one connector."""

from __future__ import annotations

import pytest

from proxystore.abc import Acknowledgement, Capability
from proxystore.errors import KeyAlreadySetError
from proxystore.testing._claims import Suite, requires
from proxystore.testing._objects import read
from proxystore.testing._peer import Peer
from proxystore.testing._samples import LARGE_NBYTES, Content, pattern
from proxystore.testing._subject import Subject

__all__ = ["CrossProcessContract"]


class CrossProcessContract(Suite):
    """`from_config(config())` in a fresh process reaches the same objects."""

    needs = frozenset({Capability.CROSS_PROCESS})

    def test_a_fresh_process_reads_what_was_put(self, connector: Subject) -> None:
        keys = connector.put_batch([b"", b"small", pattern(LARGE_NBYTES)])
        gone = connector.put(b"gone")
        connector.evict(gone)
        with Peer(connector) as peer:
            assert b"" == bytes(peer.call("get", keys[0]))
            assert b"small" == bytes(peer.call("get", keys[1]))
            assert Content(pattern(LARGE_NBYTES)) == Content(peer.call("get", keys[2]))
            assert peer.call("get", gone) is None
            assert peer.call("exists", gone) is False

    def test_what_a_fresh_process_does_is_seen_here(self, connector: Subject) -> None:
        key = connector.put(b"to be evicted there")
        with Peer(connector) as peer:
            theirs = connector.key_type(*peer.call("put", None, b"from there"))
            peer.call("evict", key)
        assert b"from there" == read(connector, theirs)
        assert connector.exists(key) is False

    def test_closing_in_a_fresh_process_clears_nothing(self, connector: Subject) -> None:
        key = connector.put(b"still here")
        with Peer(connector) as peer:
            assert b"still here" == bytes(peer.call("get", key))
            peer.call("close")
        assert b"still here" == read(connector, key)

    def test_what_put_returned_for_survives_kill_9_of_its_writer(self, connector: Subject) -> None:
        if connector.acknowledges is Acknowledgement.MEMORY:
            pytest.skip("this connector acknowledges objects that are only in memory")
        with Peer(connector) as writer:
            key = connector.key_type(*writer.call("put", None, pattern(100_000)))
            writer.kill()
        assert Content(pattern(100_000)) == Content(read(connector, key))

    @requires(Capability.CROSS_PROCESS, Capability.DEFERRABLE)
    def test_of_processes_that_set_one_key_exactly_one_wins(self, connector: Subject) -> None:
        with Peer(connector) as one, Peer(connector) as two:
            keys = [connector.key_type(*one.call("new_key", None, f"race-{n}")) for n in range(20)]
            two.call("exists", keys[0])
            for key in keys:
                one.ask("set", key, b"one")
                two.ask("set", key, b"two")
            winners = [(_has_won(one), _has_won(two)) for _ in keys]
        expected = [b"one" if first else b"two" for first, _ in winners]
        assert all(first != second for first, second in winners)
        assert expected == [read(connector, key) for key in keys]


def _has_won(peer: Peer) -> bool:
    try:
        peer.answer()
    except KeyAlreadySetError:
        return False
    return True
