"""What a store process does with messages, without sockets."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from proxystore.payload import BytesLike
from proxystore.serving import OVERHEAD_NBYTES, ObjectTable
from proxystore_connectors_zmq._reads import Pieces
from proxystore_connectors_zmq._service import Service
from proxystore_connectors_zmq._wire import CHUNK_NBYTES, PROTOCOL, Op, Reply, Request, Status

ME, YOU = b"me", b"you"
ALL = (1 << 64) - 1


class OnItsWay:
    """A reply that is on its way until the test says that it is done."""

    done = False


class Conversation:
    """A service, and what it said to whom."""

    def __init__(self, max_nbytes: int = 1 << 30) -> None:
        self.table = ObjectTable[Pieces]("a test", max_nbytes)
        self.service = Service(self.table, frozenset({"name"}), "where it is", self.said)
        self.replies: list[tuple[bytes, Reply, bytes]] = []
        self.on_their_way: list[OnItsWay] = []

    def said(self, client: bytes, reply: Reply, pieces: Sequence[BytesLike] = ()) -> OnItsWay:
        data = b"".join(pieces)
        self.replies.append((client, reply, bytes(reply.data) + data))
        self.on_their_way.append(OnItsWay())
        return self.on_their_way[-1]

    def hear(self, client: bytes, *frames: bytes) -> list[tuple[bytes, Reply, bytes]]:
        self.replies.clear()
        self.service.handle(client, [zmq.Frame(frame) for frame in frames])
        return list(self.replies)

    def ask(
        self, op: Op, *fields: object, pieces: Sequence[bytes] = (), client: bytes = ME
    ) -> Reply:
        request = Request(op, 7, *fields)  # type: ignore[arg-type]
        ((to, reply, _),) = self.hear(client, request.encode(), *pieces)
        assert to == client
        return reply


@pytest.fixture
def talk() -> Conversation:
    return Conversation()


def test_an_upload_appears_whole_and_only_when_it_is_complete(talk: Conversation) -> None:
    assert Status.OK is talk.ask(Op.BEGIN_PUT, "a", 30).status
    assert Status.OK is talk.ask(Op.CHUNK, pieces=[bytes(10)]).status
    assert Status.ABSENT is talk.ask(Op.FIND, "a").status
    assert Status.OK is talk.ask(Op.CHUNK, pieces=[bytes(15), bytes(5)]).status
    ((_, reply, data),) = talk.hear(ME, Request(Op.GET, 1, "a", 0, ALL).encode())
    assert (30, bytes(30)) == (reply.a, data)


def test_an_upload_holds_its_room_before_its_bytes_come() -> None:
    talk = Conversation(max_nbytes=100 + 2 * OVERHEAD_NBYTES)
    assert Status.OK is talk.ask(Op.BEGIN_PUT, "a", 80).status
    assert Status.FULL is talk.ask(Op.PUT, "b", client=YOU, pieces=[bytes(30)]).status
    assert Status.FULL is talk.ask(Op.BEGIN_PUT, "b", 30, client=YOU).status


def test_a_chunk_too_much_ends_the_upload_and_gives_its_room_back(talk: Conversation) -> None:
    talk.ask(Op.BEGIN_PUT, "a", 30)
    assert Status.REFUSED is talk.ask(Op.CHUNK, pieces=[bytes(31)]).status
    assert Status.FORGOTTEN is talk.ask(Op.CHUNK, pieces=[bytes(1)]).status
    assert 0 == talk.table.totals().nbytes


def test_a_chunk_of_somebody_else_changes_nothing(talk: Conversation) -> None:
    talk.ask(Op.BEGIN_PUT, "a", 3)
    assert Status.FORGOTTEN is talk.ask(Op.CHUNK, pieces=[b"xxx"], client=YOU).status
    talk.ask(Op.CHUNK, pieces=[b"abc"])
    ((_, _, data),) = talk.hear(ME, Request(Op.GET, 1, "a", 0, ALL).encode())
    assert b"abc" == data


def test_of_two_uploads_under_one_identifier_the_first_to_end_stays(talk: Conversation) -> None:
    for client in (ME, YOU):
        assert Status.OK is talk.ask(Op.BEGIN_PUT, "a", 2, client=client).status
    assert Status.OK is talk.ask(Op.CHUNK, pieces=[b"yo"], client=YOU).status
    assert Status.TAKEN is talk.ask(Op.CHUNK, pieces=[b"me"]).status
    assert (1, 2 + OVERHEAD_NBYTES) == talk.table.totals()[:2]


def test_what_the_dead_began_is_forgotten(
    talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk.ask(Op.BEGIN_PUT, "a", 30)
    talk.hear(ME, Request(Op.WAIT, 8, "b").encode())
    talk.service.tick()
    assert 30 + OVERHEAD_NBYTES == talk.table.totals().nbytes
    monkeypatch.setattr("proxystore_connectors_zmq._service._FORGET_SECONDS", -1.0)
    talk.service.tick()
    assert 0 == talk.table.totals().nbytes
    talk.ask(Op.PUT, "b")
    assert all(reply.number != 8 for _, reply, _ in talk.replies)


def test_a_wait_is_answered_when_the_object_comes_and_once(talk: Conversation) -> None:
    wait = Request(Op.WAIT, 8, "b").encode()
    assert [] == talk.hear(YOU, wait) == talk.hear(YOU, wait)
    said = talk.hear(ME, Request(Op.PUT, 7, "b").encode())
    assert [YOU, ME] == [client for client, _, _ in said]
    assert [Status.OK] == [reply.status for _, reply, _ in talk.hear(YOU, wait)]


def test_a_wait_that_was_given_up_is_not_answered(talk: Conversation) -> None:
    talk.hear(YOU, Request(Op.WAIT, 8, "b").encode())
    talk.hear(YOU, Request(Op.UNWAIT, 0, a=8).encode())
    assert [ME] == [client for client, _, _ in talk.hear(ME, Request(Op.PUT, 7, "b").encode())]


def test_a_farewell_goes_to_those_that_wait_and_to_other_nodes(talk: Conversation) -> None:
    talk.hear(ME, Request(Op.WAIT, 8, "b").encode())
    talk.hear(YOU, Request(Op.HELLO, 0, "name", 1).encode())
    talk.replies.clear()
    talk.service.say_farewell()
    assert [(ME, Status.ENDING), (YOU, Status.ENDING)] == [
        (client, reply.status) for client, reply, _ in talk.replies
    ]


def test_another_process_name_is_refused(talk: Conversation) -> None:
    reply = talk.ask(Op.HELLO, "name")
    assert (Status.OK, b"where it is") == (reply.status, bytes(reply.data))
    assert Status.REFUSED is talk.ask(Op.HELLO, "another").status


def test_another_version_is_told_which_this_is(talk: Conversation) -> None:
    frame = bytearray(Request(Op.PUT, 7, "a", data=b"x").encode())
    frame[4] = 99
    ((_, reply, _),) = talk.hear(ME, bytes(frame))
    assert Status.REFUSED is reply.status
    assert talk.table.find("a") is None


def stored(talk: Conversation, *pieces: bytes) -> bytes:
    talk.ask(Op.BEGIN_PUT, "a", sum(map(len, pieces)))
    for piece in pieces:
        talk.ask(Op.CHUNK, pieces=[piece])
    return b"".join(pieces)


def read(talk: Conversation, client: bytes = ME) -> list[bytes]:
    """The answers to a read of as much as there is."""
    said = talk.hear(client, Request(Op.GET, 1, "a", 0, ALL).encode())
    return [data for to, _, data in said if to == client]


@pytest.mark.parametrize("start", [0, 5, CHUNK_NBYTES - 1, CHUNK_NBYTES, 3 * CHUNK_NBYTES + 9])
def test_an_answer_has_as_much_as_a_message_holds_and_says_what_is_left(
    talk: Conversation, start: int
) -> None:
    whole = stored(talk, *[bytes([n]) * CHUNK_NBYTES for n in range(3)])
    ((_, reply, data),) = talk.hear(ME, Request(Op.GET, 1, "a", start, ALL).encode())
    assert max(0, len(whole) - start) == reply.a
    assert data == whole[start : start + CHUNK_NBYTES], "the part came back different"


def test_who_does_not_read_gets_no_more_and_others_do(talk: Conversation) -> None:
    whole = stored(talk, bytes(CHUNK_NBYTES))
    answers = [len(read(talk)) for _ in range(50)]
    assert [1] * 8 + [0] * 42 == answers
    assert [whole] == read(talk, YOU)
    assert talk.service.resume()
    assert [whole] == [data for to, _, data in talk.replies if to == YOU]


def test_who_reads_again_gets_what_was_asked_for_in_the_order_of_asking(
    talk: Conversation,
) -> None:
    stored(talk, bytes(CHUNK_NBYTES))
    for number in range(12):
        talk.hear(ME, Request(Op.GET, number, "a", 0, ALL).encode())
    talk.replies.clear()
    for sent in talk.on_their_way:
        sent.done = True
    assert not talk.service.resume()
    assert [8, 9, 10, 11] == [reply.number for _, reply, _ in talk.replies]


def test_reads_of_who_never_read_are_forgotten(
    talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(talk, bytes(CHUNK_NBYTES))
    for _ in range(20):
        read(talk)
    talk.service.tick()
    assert talk.service.resume()
    monkeypatch.setattr("proxystore_connectors_zmq._service._FORGET_SECONDS", -1.0)
    talk.service.tick()
    assert not talk.service.resume()


def test_past_what_may_be_on_its_way_to_all_each_client_still_gets_one_answer() -> None:
    talk = Conversation(max_nbytes=64 * CHUNK_NBYTES)
    stored(talk, bytes(CHUNK_NBYTES))
    clients = [b"client %d" % number for number in range(40)]
    for client in clients:
        for _ in range(8):
            read(talk, client)
    # A quarter of it, which two clients took, and one for each that came after.
    in_answer_to_stored = 2
    assert 16 + (40 - 2) == len(talk.on_their_way) - in_answer_to_stored
    assert talk.service.resume()


FRAMES = st.lists(
    st.binary(max_size=120)
    | st.builds(
        lambda op, number, name, a, b, data: Request(op, number, name, a, b, None, data).encode(),
        st.sampled_from(Op),
        st.integers(0, 3),
        st.sampled_from(["a", "b", "kept", "", "../x", "name"]),
        st.integers(0, 2000) | st.just(ALL),
        st.integers(0, 200) | st.just(ALL),
        st.binary(max_size=50),
    ),
    max_size=4,
)


@given(messages=st.lists(FRAMES, max_size=12))
def test_no_message_breaks_the_count_of_bytes(messages: list[list[bytes]]) -> None:
    talk = Conversation(max_nbytes=3000)
    for number, frames in enumerate(messages):
        talk.hear((ME, YOU)[number % 2], *frames)
        totals = talk.table.totals()
        assert 0 <= totals.nbytes <= 3000
    for name in ("a", "b", "kept"):
        entry = talk.table.find(name)
        if entry is not None:
            assert entry.nbytes == sum(len(bytes(memoryview(piece))) for piece in entry.data)


PREFIX = b"PXZ\x93" + bytes([PROTOCOL])


@given(frames=FRAMES.filter(lambda frames: not frames or not frames[0].startswith(PREFIX)))
def test_a_message_of_garbage_changes_nothing(frames: list[bytes]) -> None:
    talk = Conversation()
    talk.ask(Op.PUT, "kept", pieces=[b"as it was"])
    before = talk.table.find("kept")
    talk.hear(YOU, *frames)
    assert before == talk.table.find("kept")
    assert 1 == talk.table.totals().objects
