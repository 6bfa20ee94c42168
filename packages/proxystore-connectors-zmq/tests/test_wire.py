"""What travels between client and store process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.payload import Buffers
from proxystore_connectors_zmq._wire import (
    CHUNK_NBYTES,
    INLINE_NBYTES,
    PROTOCOL,
    GarbageError,
    Op,
    Reply,
    Request,
    Status,
    pieces_of,
)

NUMBERS = st.integers(0, (1 << 64) - 1)
REQUESTS = st.builds(
    Request,
    op=st.sampled_from(Op),
    number=st.integers(0, (1 << 32) - 1),
    object_id=st.text("abcXYZ019_-", max_size=64),
    a=NUMBERS,
    b=NUMBERS,
    ttl=st.none() | st.floats(1e-9, 1e9),
    data=st.binary(max_size=100),
)
REPLIES = st.builds(
    Reply,
    status=st.sampled_from(Status),
    number=st.integers(0, (1 << 32) - 1),
    a=NUMBERS,
    b=NUMBERS,
    data=st.binary(max_size=100),
)


@given(request=REQUESTS)
def test_a_request_is_read_as_it_was_written(request: Request) -> None:
    assert request == Request.parse(memoryview(request.encode()))


@given(reply=REPLIES)
def test_a_reply_is_read_as_it_was_written(reply: Reply) -> None:
    assert reply == Reply.parse(memoryview(reply.encode()))


@given(frame=st.binary(max_size=200))
def test_garbage_is_told_from_messages(frame: bytes) -> None:
    for kind in (Request, Reply):
        with pytest.raises(GarbageError):
            kind.parse(memoryview(frame))


@given(request=REQUESTS, cut=st.integers(0, 200))
def test_a_cut_request_is_garbage_or_has_less_data(request: Request, cut: int) -> None:
    frame = memoryview(request.encode())[:cut]
    try:
        found = Request.parse(frame)
    except GarbageError:
        return
    assert found._replace(data=b"") == request._replace(data=b"")
    assert bytes(request.data).startswith(bytes(found.data))


@pytest.mark.parametrize("kind", [Request(Op.GET, 1, "a"), Reply(Status.OK, 1)])
def test_a_message_of_another_version_says_so(kind: Request | Reply) -> None:
    frame = bytearray(kind.encode())
    frame[4] = PROTOCOL + 1
    with pytest.raises(GarbageError) as caught:
        type(kind).parse(memoryview(frame))
    assert PROTOCOL + 1 == caught.value.version


@given(
    sizes=st.lists(
        st.sampled_from(
            [0, 1, 100, INLINE_NBYTES, INLINE_NBYTES + 1, CHUNK_NBYTES, CHUNK_NBYTES + 1]
        )
        | st.integers(0, 3 * CHUNK_NBYTES),
        max_size=6,
    )
)
def test_pieces_are_the_payload_in_bounded_parts(sizes: list[int]) -> None:
    payload = Buffers([bytes([n % 256]) * size for n, size in enumerate(sizes)])
    pieces = list(pieces_of(payload))
    assert all(0 < len(piece) <= CHUNK_NBYTES for piece in pieces)
    assert payload.join() == b"".join(pieces)


def test_many_small_buffers_become_few_pieces() -> None:
    assert 1 == len(list(pieces_of(Buffers([b"x" * 100] * 1500))))
