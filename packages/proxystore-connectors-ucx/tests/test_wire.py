"""Frames, and what strangers send instead: it ends their own connection and nothing else."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxystore.secrets import read_secret
from proxystore.serving import Place
from proxystore_connectors_ucx import UCXConnector
from proxystore_connectors_ucx._handshake import derived_key, respond
from proxystore_connectors_ucx._wire import (
    WHOLE,
    Code,
    Frame,
    Link,
    OtherVersionError,
    WireError,
    lengths_of,
    pack_lengths,
)

IDS = st.text("abcXYZ019_-", max_size=64)
FRAMES = st.builds(
    Frame,
    code=st.sampled_from(Code),
    object_id=IDS,
    nbytes=st.integers(0, WHOLE),
    number=st.integers(0, WHOLE),
    seconds=st.floats(allow_nan=False),
    body=st.binary(max_size=300).map(bytearray),
)
fuzz = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@contextlib.contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair()
    with one, two:
        two.settimeout(5)
        yield one, two


@given(frames=st.lists(FRAMES, max_size=5))
@fuzz
def test_frames_arrive_as_they_were_sent(frames: list[Frame]) -> None:
    with pair() as (one, two):
        sender, receiver = Link(one), Link(two)
        for frame in frames:
            sender.send(frame)
        assert frames == [receiver.receive() for _ in frames]


@pytest.mark.parametrize("nbytes", [0, 16_347, 16_348, 16_349, 16_384, 50_000])
def test_bodies_of_every_size_arrive(nbytes: int) -> None:
    with pair() as (one, two):
        sender, receiver = Link(one), Link(two)
        for _ in range(3):
            sender.send(Frame(Code.SET, "x"), [b"a" * nbytes, b"", b"b"])
            assert receiver.receive().body == b"a" * nbytes + b"b"


@given(data=st.binary(max_size=200))
@fuzz
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pair() as (one, two):
        one.sendall(data)
        one.shutdown(socket.SHUT_WR)
        with pytest.raises((WireError, EOFError)):
            while True:
                Link(two).receive()


def test_another_version_is_told_from_garbage() -> None:
    with pair() as (one, two):
        one.sendall(b"PXuc\x09" + bytes(60))
        with pytest.raises(OtherVersionError, match="version 9"):
            Link(two).receive()


@given(lengths=st.lists(st.integers(0, 2**63), max_size=70), nbytes=st.integers(0, 2**64 - 1))
@fuzz
def test_pieces_are_those_of_the_object_or_refused(lengths: list[int], nbytes: int) -> None:
    body = b"".join(length.to_bytes(8, "little") for length in lengths)
    try:
        found = lengths_of(Frame(Code.SET, "x", nbytes, len(lengths), body=body))
    except WireError:
        return
    assert found == lengths
    assert sum(lengths) == nbytes
    assert pack_lengths([b"ab", b"c"]) == bytes([2, *[0] * 7, 1, *[0] * 7])


# --- At the sockets of a store process --------------------------------------------


@pytest.fixture
def local(connector: UCXConnector) -> Callable[[], socket.socket]:
    connector.put(b"so that a process runs")
    place = Place("ucx", connector.config()["namespace"])
    found = place.announced()
    assert found is not None
    path = place.file(found.instance)

    def connect() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(5)
        sock.connect(path)
        return sock

    return connect


def ends(sock: socket.socket) -> bool:
    """Whether the other side closes, whatever it says before."""
    with contextlib.suppress(ConnectionError):
        while sock.recv(1 << 16):
            pass
    return True


@given(data=st.one_of(st.binary(max_size=300), st.binary(max_size=60).map(b"PXuc\x01".__add__)))
@fuzz
def test_garbage_ends_its_own_connection_only(
    connector: UCXConnector, local: Callable[[], socket.socket], data: bytes
) -> None:
    with local() as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        assert ends(sock)
    key = connector.put(b"as before")
    assert bytes(connector.get(key) or b"") == b"as before"


@given(frame=FRAMES)
@fuzz
def test_any_frame_is_answered_or_ends_its_own_connection(
    connector: UCXConnector, local: Callable[[], socket.socket], frame: Frame
) -> None:
    kept = connector.put(b"kept")
    with local() as sock:
        with contextlib.suppress(ConnectionError):
            Link(sock).send(frame)
            sock.shutdown(socket.SHUT_WR)
        assert ends(sock)
    assert bytes(connector.get(kept) or b"") == b"kept"


@pytest.mark.parametrize(
    "frame",
    [
        Frame(Code.SET, "x", nbytes=5, body=b"four"),
        Frame(Code.SET, "x", nbytes=1 << 62, number=1, body=(1 << 62).to_bytes(8, "little")),
        Frame(Code.SET, "x", nbytes=8, number=1, body=(8).to_bytes(8, "little")),
        Frame(Code.SET, "", nbytes=1, body=b"x"),
        Frame(Code.SET, "x", seconds=-1.0),
        Frame(Code.CHANNEL, body=b"short"),
        Frame(Code.CHANNEL, body=os.urandom(8)),
        # What ended a store process, before addresses were checked.
        Frame(Code.CHANNEL, body=bytes(8) + b"\x02"),
        Frame(Code.CHANNEL, body=bytes(24) + os.urandom(100)),
        Frame(Code.DONE),
    ],
)
def test_a_frame_that_cannot_be_stores_nothing(
    connector: UCXConnector, local: Callable[[], socket.socket], frame: Frame
) -> None:
    with local() as sock:
        Link(sock).send(frame)
        with contextlib.suppress(EOFError, ConnectionError):
            assert Link(sock).receive().code in {Code.FULL, Code.FAILED}
    assert not connector.exists(connector.new_key("x"))
    assert connector.exists(connector.put(bytes(3 << 20)))


def test_a_frame_with_impossible_numbers_is_refused() -> None:
    header = struct.pack("<4sBBBxIQQd", b"PXuc", 1, Code.SET, 0, 5, 0, 0, math.nan)
    with pair() as (one, two):
        one.sendall(header + bytes(5))
        with pytest.raises(WireError, match="impossible"):
            Link(two).receive()


def dialled(connector: UCXConnector) -> socket.socket:
    host, _, port = connector.config()["address"].rpartition(":")
    return socket.create_connection((host, int(port)), timeout=8)


@given(data=st.one_of(st.binary(max_size=200), st.binary(max_size=90).map(b"PXucx\x01".__add__)))
@settings(fuzz, max_examples=30)
def test_a_stranger_from_the_network_gets_nothing(networked: UCXConnector, data: bytes) -> None:
    with dialled(networked) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        heard = bytearray()
        with contextlib.suppress(ConnectionError):
            while more := sock.recv(1 << 16):
                heard += more
        # The greeting, which everybody gets, and no proof.
        assert len(heard) in {0, 46}
    assert networked.exists(networked.put(b"x"))


def test_a_proof_cannot_be_used_again(networked: UCXConnector) -> None:
    config = networked.config()
    key = derived_key(read_secret(config["secret"], "test"), config["namespace"])
    said = bytearray()

    class Heard:
        def __init__(self, sock: socket.socket) -> None:
            self._sock = sock

        def sendall(self, data: bytes) -> None:
            said.extend(data)
            self._sock.sendall(data)

        def __getattr__(self, name: str) -> object:
            return getattr(self._sock, name)

    with dialled(networked) as sock:
        respond(Heard(sock), key, 5.0)  # type: ignore[arg-type]
    with dialled(networked) as sock:
        sock.sendall(said)
        heard = sock.recv(46, socket.MSG_WAITALL)
        assert len(heard) == 46
        assert ends(sock)


def test_a_frame_before_the_proof_is_not_answered(networked: UCXConnector) -> None:
    key = networked.put(b"private")
    with dialled(networked) as sock:
        heard = b""
        with contextlib.suppress(ConnectionError):
            Link(sock).send(Frame(Code.GET, key.object_id, WHOLE))
            Link(sock).send(Frame(Code.GET, key.object_id, WHOLE))
            while more := sock.recv(1 << 16):
                heard += more
        assert b"private" not in heard
