"""What reads the network: whatever a server sends is understood, or refused, and never a hang."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxystore.errors import ConnectorUnavailableError, CorruptObjectError, MediumFullError
from proxystore_connectors_redis import RedisConnector
from proxystore_connectors_redis._failures import Failures
from proxystore_connectors_redis._layout import Header
from proxystore_connectors_redis._reading import ChangedError, read, read_all
from proxystore_connectors_redis._wire import NotRedisError, Reply, ServerError, Wire, command

_REFUSED = (NotRedisError, OSError, ServerError)


@contextlib.contextmanager
def _connected() -> Iterator[tuple[Wire, socket.socket]]:
    ours, theirs = socket.socketpair()
    wire = Wire(ours, timeout=20)
    with contextlib.closing(wire), theirs:
        yield wire, theirs


def _after(sent: bytes, cuts: Sequence[int] = ()) -> Any:
    """A wire on which ``sent`` came, in pieces, and nothing more will."""

    @contextlib.contextmanager
    def made() -> Iterator[Wire]:
        with _connected() as (wire, theirs):

            def send() -> None:
                with contextlib.suppress(OSError):
                    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
                        theirs.sendall(sent[start:end])
                    theirs.shutdown(socket.SHUT_WR)

            sending = threading.Thread(target=send)
            sending.start()
            try:
                yield wire
            finally:
                with contextlib.suppress(OSError):
                    theirs.shutdown(socket.SHUT_RDWR)
                sending.join()

    return made()


# --- Replies ---------------------------------------------------------------------

_replies = st.recursive(
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.binary(max_size=200)
    | st.builds(ServerError, st.text("ABC def", max_size=20)),
    lambda some: st.lists(some, max_size=5),
    max_leaves=8,
)


def _depth(reply: Reply) -> int:
    return 1 + max(map(_depth, reply), default=0) if isinstance(reply, list) else 0


def _encoded(reply: Reply) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    if isinstance(reply, ServerError):
        return b"-%b\r\n" % str(reply).encode()
    return b"*%d\r\n" % len(reply) + b"".join(map(_encoded, reply))


def _plain(reply: Reply) -> object:
    if isinstance(reply, ServerError):
        return "error", str(reply)
    return list(map(_plain, reply)) if isinstance(reply, list) else reply


@pytest.mark.slow
@given(
    replies=st.lists(_replies.filter(lambda reply: _depth(reply) <= 4), max_size=6), data=st.data()
)
@settings(max_examples=60)
def test_replies_are_read_however_they_are_cut(replies: list[Reply], data: st.DataObject) -> None:
    sent = b"".join(map(_encoded, replies))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=5)))
    with _after(sent, cuts) as wire:
        assert list(map(_plain, replies)) == [_plain(wire.reply()) for _ in replies]


def test_replies_longer_than_the_buffer_are_read() -> None:
    replies: list[Reply] = [bytes(30_000), [b"x" * 20_000] * 9, b"y" * 32_000, 5]
    with _after(b"".join(map(_encoded, replies))) as wire:
        assert replies == [wire.reply() for _ in replies]


_lines = st.lists(
    st.sampled_from(
        [
            *(b"$", b"*", b"+", b"-", b":", b">3", b"\r\n", b"\r", b"\n", b"-1", b"0", b"1", b"36"),
            *(b"psr\x01", b"99999999999999999999", b"5\r\nhello\r\n", b"$1000000000000\r\n"),
            b"*9999999\r\n",
        ]
    )
    | st.binary(max_size=40),
    max_size=20,
).map(b"".join)


@pytest.mark.slow
@given(sent=_lines)
@example(sent=b"*1\r\n" * 1000)
@example(sent=b"*65536\r\n" * 4)
@example(sent=b"+" + b"x" * 100_000)
@example(sent=b"$" + b"9" * 10_000 + b"\r\n")
@example(sent=b"$5\r\nhelloXX")
@settings(max_examples=150)
def test_garbage_is_refused_or_a_reply(sent: bytes) -> None:
    with _after(sent) as wire, contextlib.suppress(*_REFUSED):
        while True:
            wire.reply()


@pytest.mark.slow
@given(sent=_lines, offset=st.sampled_from([0, 5]), length=st.sampled_from([None, 0, 10]))
@example(sent=b"$99999999999\r\n" + bytes(100), offset=0, length=None)
@example(sent=b"$-5\r\n", offset=0, length=None)
@example(sent=b"$0\r\n\r\n$99999\r\n", offset=5, length=10)
@example(
    sent=b"$36\r\n" + Header(b"0" * 16, 1 << 27).to_bytes() + b"\r\n", offset=0, length=None
)
@settings(max_examples=150)
def test_an_object_of_garbage_is_refused(sent: bytes, offset: int, length: int | None) -> None:
    refused = (*_REFUSED, ChangedError, CorruptObjectError, ConnectorUnavailableError)
    with _after(sent) as wire, contextlib.suppress(*refused):
        found = read(wire, b"name", "here", offset, length, whole=False)
        assert found is None or found.data == b""


@given(data=st.binary(max_size=100), cut=st.integers(0, 150))
@settings(max_examples=60)
def test_an_object_that_is_cut_is_never_given(data: bytes, cut: int) -> None:
    value = Header(b"0" * 16, len(data)).to_bytes() + data
    sent = b"$%d\r\n%b\r\n" % (len(value), value)
    with _after(sent[:cut]) as wire:
        if cut < len(sent):
            with pytest.raises(ConnectionError):
                read(wire, b"name", "here", whole=False)
        else:
            found = read(wire, b"name", "here", whole=False)
            assert found is not None
            assert found.data == data


def test_an_object_is_given_to_one_caller_only() -> None:
    value = Header(b"0" * 16, 5).to_bytes() + b"hello"
    sent = b"$%d\r\n%b\r\n" % (len(value), value)
    with _after(sent * 2) as wire:
        first, second = read_all(wire, [b"a", b"b"], "here")
        assert isinstance(first, bytearray)
        first[:] = b"XXXXX"
        assert second == b"hello"
        assert not wire.pending


# --- Commands -------------------------------------------------------------------


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=5))
@settings(max_examples=40)
def test_commands_are_arrays_of_bytes(arguments: list[bytes]) -> None:
    with _after(command(*arguments)) as wire:
        assert arguments == wire.reply()


@pytest.mark.parametrize("count", [1, 3000])
def test_buffers_go_out_in_order_and_whole(count: int) -> None:
    chance = random.Random(0)
    buffers = [memoryview(chance.randbytes(chance.randrange(3) * 4000)) for _ in range(count)]
    buffers += [memoryview(chance.randbytes(2_000_000)), memoryview(b"")]
    with _connected() as (wire, theirs):
        sending = threading.Thread(target=wire.send, args=(buffers, 1))
        sending.start()
        expected = b"".join(buffers)
        found = bytearray()
        while len(found) < len(expected):
            found += theirs.recv(1 << 20)
        sending.join()
        assert expected == found
        assert wire.pending == 1


def test_a_reader_that_does_not_read_is_a_timeout() -> None:
    ours, theirs = socket.socketpair()
    with theirs, contextlib.closing(Wire(ours, timeout=0.05)) as wire:
        with pytest.raises(BlockingIOError):
            wire.send([bytes(50_000_000)], 1)
        with pytest.raises(BlockingIOError):
            wire.reply()


# --- What servers say -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("NOAUTH Authentication required.", "wants a password"),
        ("WRONGPASS invalid username-password pair", "refused the user"),
        ("NOPERM this user has no permissions to run 'set'", "ACL SETUSER"),
        ("ERR Error running script (call to f_1): @user_script: 1: NOPERM no", "ACL SETUSER"),
        ("LOADING Redis is loading the dataset in memory", "loading its data"),
        ("READONLY You can't write against a read only replica.", "primary"),
        ("MISCONF Redis is configured to save RDB snapshots", "cannot save"),
        ("BUSY Redis is busy running a script.", "SCRIPT KILL"),
        ("MOVED 3999 127.0.0.1:6381", "cluster"),
        ("CROSSSLOT Keys in request don't hash to the same slot", "cluster"),
        ("ERR something new", "something new"),
    ],
)
def test_what_a_server_refuses_has_its_own_advice(text: str, says: str) -> None:
    error = Failures("redis at h:1", 5).explained(ServerError(text))
    assert isinstance(error, ConnectorUnavailableError)
    assert says in str(error)
    assert "redis at h:1" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "ERR Error running script (call to f_1): @user_script:1: OOM command not allowed",
    ],
)
def test_a_server_that_is_full_is_a_full_medium(text: str) -> None:
    error = Failures("redis at h:1", 5).explained(ServerError(text), nbytes=7)
    assert isinstance(error, MediumFullError)
    assert error.nbytes == 7


def test_the_socket_is_taken_from_redis_py_once_and_is_ours(server: Any) -> None:
    """Of every version of redis-py: it must neither keep it nor end it."""
    import gc

    connector = RedisConnector("127.0.0.1", server.port)
    gc.collect()
    with server.client() as client:
        before = [each["id"] for each in client.client_list()]
        for _ in range(3):
            connector.put(b"x")
        assert before == [each["id"] for each in client.client_list()]
    connector.close()
