"""What a store process does with requests that are none: others sent them, or another version."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxystore.errors import ConnectorUnavailableError
from proxystore.serving import Place
from proxystore.serving.objects import OVERHEAD_NBYTES
from proxystore_connectors_margo import MargoConnector

VERSION = 1
OPERATIONS = ("set", "replace", "read", "stat", "evict", "touch", "wait", "lives", "closed")

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=6,
)
arguments = st.lists(anything, max_size=5)
identifiers = st.sampled_from(["x", "", "../x", "a" * 65]) | anything
examples = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Stranger:
    """Somebody with an engine, who says to a store process what it likes."""

    def __init__(self, margo: ModuleType, connector: MargoConnector) -> None:
        self.margo = margo
        self.engine = margo.Engine("na+sm", margo.client, use_progress_thread=True)
        self.address = connector.new_key("x").address
        peer = self.engine.lookup(self.address)
        self.call = self.engine.register("proxystore").on(peer)

    def say(self, *request: Any, **named: Any) -> Any:
        return self.call(*request, timeout=3000, **named)

    def exposed(self, memory: Any, mode: str) -> Any:
        return self.engine.create_bulk(memory, getattr(self.margo.bulk, mode))


@pytest.fixture
def connector() -> Iterator[MargoConnector]:
    with MargoConnector(max_nbytes=1_000_000 + OVERHEAD_NBYTES) as connector:
        yield connector


@pytest.fixture
def stranger(margo: ModuleType, connector: MargoConnector) -> Iterator[Stranger]:
    stranger = Stranger(margo, connector)
    yield stranger
    stranger.engine.finalize()


@examples
@given(request=st.lists(anything, max_size=6))
def test_any_request_is_answered_and_changes_nothing(
    connector: MargoConnector, stranger: Stranger, request: list[Any]
) -> None:
    key = connector.put(b"bytes")
    assert stranger.say(*request)[0] in {"failed", "other version"}
    assert b"bytes" == bytes(connector.get(key) or b"")


@examples
@given(op=st.sampled_from(OPERATIONS), object_id=identifiers, rest=arguments)
def test_any_arguments_of_an_operation_are_answered(
    connector: MargoConnector, stranger: Stranger, op: str, object_id: Any, rest: list[Any]
) -> None:
    key = connector.put(b"bytes")
    if op == "wait" and rest and isinstance(rest[0], float):
        rest = ["not so long", *rest]
    stranger.say(VERSION, op, object_id, *rest)
    assert b"bytes" == bytes(connector.get(key) or b"")


def test_named_arguments_are_ignored(stranger: Stranger) -> None:
    assert "failed" == stranger.say(surprise=1)[0]


@pytest.mark.parametrize("version", [0, 2, -1, 10**30])
def test_another_version_is_told_which_one_this_is(stranger: Stranger, version: int) -> None:
    assert ("other version", VERSION) == tuple(stranger.say(version, "stat", "x"))


@pytest.mark.parametrize("mode", ["read_only", "write_only"])
def test_an_object_of_which_less_is_exposed_than_said_is_not_stored(
    connector: MargoConnector, stranger: Stranger, mode: str
) -> None:
    bulk = stranger.exposed(bytearray(10), mode)
    nbytes = 11 if mode == "read_only" else 10
    assert "failed" == stranger.say(VERSION, "set", "x", [(bulk, nbytes)], None)[0]
    assert not connector.exists(connector.new_key("x"))
    connector.put(bytes(1_000_000))


@pytest.mark.parametrize("nbytes", [10**7, 10**18, 10**30])
def test_an_object_that_is_too_large_is_refused_before_it_is_moved(
    stranger: Stranger, nbytes: int
) -> None:
    bulk = stranger.exposed(bytearray(10), "read_only")
    assert "full" == stranger.say(VERSION, "set", "x", [(bulk, nbytes)], None)[0]


@pytest.mark.parametrize(("offset", "nbytes"), [(-1, 3), (3, 3), (0, -1), (10**30, 1)])
def test_a_part_that_the_object_does_not_have_is_refused(
    connector: MargoConnector, stranger: Stranger, offset: int, nbytes: int
) -> None:
    key = connector.put(b"bytes")
    bulk = stranger.exposed(bytearray(10), "write_only")
    assert "failed" == stranger.say(VERSION, "read", key.id, bulk, offset, nbytes, 5)[0]


def test_an_object_is_not_pushed_past_what_is_exposed(
    connector: MargoConnector, stranger: Stranger
) -> None:
    key = connector.put(b"bytes")
    for bulk in (stranger.exposed(bytearray(4), "write_only"), None, "no handle"):
        assert "failed" == stranger.say(VERSION, "read", key.id, bulk, 0, 5, 5)[0]
    assert b"bytes" == bytes(connector.get(key) or b"")


def test_only_the_end_of_the_owner_ends_a_store_process(
    connector: MargoConnector, stranger: Stranger
) -> None:
    key = connector.put(b"bytes")
    stranger.say(VERSION, "closed", connector.config()["namespace"])
    assert b"bytes" == bytes(connector.get(key) or b"")


@pytest.mark.slow
def test_a_client_that_is_killed_in_the_middle_of_an_object_leaves_no_trace() -> None:
    nbytes = 30_000_000
    with MargoConnector(max_nbytes=nbytes + OVERHEAD_NBYTES) as connector:
        key = connector.new_key("torn")
        code = (
            f"import sys; sys.path[:] = {sys.path!r}\n"
            "from proxystore_connectors_margo import MargoConnector\n"
            f"connector = MargoConnector.from_config({connector.config()!r})\n"
            f"payload, key = bytes({nbytes}), connector.new_key('torn')\n"
            "print(flush=True)\n"
            "while True:\n"
            "    connector.set(key, payload)\n"
            "    connector.evict(key)\n"
        )
        for delay in (0.001, 0.02, 0.03):
            with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
                assert child.stdout is not None
                child.stdout.readline()
                # Somewhere in the middle: where, does not matter.
                threading.Timer(delay, os.kill, (child.pid, signal.SIGKILL)).start()
            found = connector.get(key)
            assert found is None or found == bytes(nbytes)
            connector.evict(key)
            # All the room is there again.
            connector.evict(connector.put(bytes(nbytes)))


def test_a_store_process_of_another_version_is_reported(connector: MargoConnector) -> None:
    connector.put(b"bytes")
    place = Place("margo", connector.config()["namespace"])
    found = place.announced()
    assert found is not None
    with open(place.file("address"), "wb") as file:
        file.write(found._replace(protocol=2).encode())
    with (
        MargoConnector.from_config(connector.config()) as newer,
        pytest.raises(ConnectorUnavailableError, match="version 2"),
    ):
        newer.put(b"x")


@pytest.fixture
def impostor(margo: ModuleType) -> Iterator[Any]:
    """Something that answers to the name of a store process."""
    engine = margo.Engine("na+sm", use_progress_thread=True, num_rpc_threads=1)
    yield engine
    engine.finalize()


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (("other version", 2), "version 2"),
        (("failed", "no such thing"), "no such thing"),
        (None, "no answer of this protocol"),
        (("nonsense",), "no answer of this protocol"),
        (5, "no answer of this protocol"),
        (("full",), "no answer of this protocol"),
        (("resized", "5"), "no answer of this protocol"),
        (("set already",), "no answer of this protocol"),
    ],
)
def test_a_strange_answer_is_reported(
    connector: MargoConnector, impostor: Any, answer: Any, named: str
) -> None:
    impostor.register("proxystore", lambda handle, *_: handle.respond(answer))
    key = connector.new_key("x")._replace(address=str(impostor.address))
    with pytest.raises(ConnectorUnavailableError, match=named):
        connector.get(key)
