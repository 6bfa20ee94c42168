"""The table of objects of a store process."""

from __future__ import annotations

import pickle
import threading
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.errors import KeyAlreadySetError, KeyNotSetError, MediumFullError
from proxystore.serving import OVERHEAD_NBYTES, ObjectTable

FAR = 3600.0
LIMIT = 2000


@pytest.fixture
def table() -> ObjectTable[bytes]:
    return ObjectTable("the table of a test", LIMIT)


def room(*sizes: int) -> int:
    """What objects of these sizes take."""
    return sum(sizes) + len(sizes) * OVERHEAD_NBYTES


def store(table: ObjectTable[bytes], object_id: str, data: bytes, ttl: float | None = None) -> None:
    with table.reserve(len(data)) as reserved:
        table.set(object_id, data, reserved, ttl=ttl)


def replace(table: ObjectTable[bytes], object_id: str, data: bytes) -> None:
    with table.reserve(len(data)) as reserved:
        table.replace(object_id, data, reserved)


def found(table: ObjectTable[bytes], object_id: str) -> bytes | None:
    entry = table.find(object_id)
    return None if entry is None else entry.data


def test_an_object_is_set_once(table: ObjectTable[bytes]) -> None:
    store(table, "a", b"first")
    with pytest.raises(KeyAlreadySetError):
        store(table, "a", b"second")
    assert b"first" == found(table, "a")


def test_replace_needs_an_object_and_makes_a_new_generation(table: ObjectTable[bytes]) -> None:
    with pytest.raises(KeyNotSetError):
        replace(table, "a", b"x")
    store(table, "a", b"first")
    before = table.find("a")
    replace(table, "a", b"2.")
    after = table.find("a")
    assert before is not None
    assert after is not None
    assert b"2." == after.data
    assert before.generation != after.generation


def test_generations_of_two_tables_differ() -> None:
    generations = set()
    for _ in range(2):
        table = ObjectTable[bytes]("here", room(10))
        store(table, "a", b"x")
        entry = table.find("a")
        assert entry is not None
        generations.add(entry.generation)
    assert len(generations) == 2


def test_room_is_refused_before_the_bytes_come() -> None:
    table = ObjectTable[bytes]("a test", room(60, 40))
    store(table, "a", bytes(60))
    said = f"{room(60)} of its {room(60, 40)} bytes are in use"
    with pytest.raises(MediumFullError, match=said) as caught:
        table.reserve(41)
    assert str(caught.value) == str(pickle.loads(pickle.dumps(caught.value)))
    with table.reserve(40), pytest.raises(MediumFullError):
        table.reserve(0)
    assert table.totals().nbytes == room(60)


@pytest.mark.parametrize("nbytes", [0, 1, 100])
def test_what_tiny_objects_take_is_bounded_too(nbytes: int) -> None:
    table = ObjectTable[bytes]("a test", 1 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(MediumFullError):
            for number in range(10_000):
                store(table, f"an identifier of {number:6}", bytes(nbytes), FAR)
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()


def test_room_comes_back_where_no_object_took_it(table: ObjectTable[bytes]) -> None:
    reserved = table.reserve(LIMIT - OVERHEAD_NBYTES)
    reserved.release()
    reserved.release()
    store(table, "a", bytes(50))
    with pytest.raises(KeyAlreadySetError):
        store(table, "a", bytes(50))
    assert (1, room(50), LIMIT) == table.totals()


@pytest.mark.parametrize("leave", ["evict", "clear", "expire", "replace"])
def test_an_object_that_goes_leaves_its_room(table: ObjectTable[bytes], leave: str) -> None:
    store(table, "a", bytes(100), ttl=1e-9 if leave == "expire" else None)
    if leave == "evict":
        table.evict("a")
    elif leave == "clear":
        table.clear()
    elif leave == "replace":
        table.evict("a")
        store(table, "a", b"")
        replace(table, "a", bytes(60))
        table.evict("a")
    assert table.find("a") is None
    assert (0, 0, LIMIT) == table.totals()


def test_an_expired_object_is_absent_and_can_be_set_anew(table: ObjectTable[bytes]) -> None:
    store(table, "a", b"old", ttl=1e-9)
    assert found(table, "a") is None
    assert not table.touch("a", FAR)
    store(table, "a", b"new")
    assert b"new" == found(table, "a")


def test_touch_lengthens_shortens_and_ends_a_lease(table: ObjectTable[bytes]) -> None:
    store(table, "a", b"x", ttl=FAR)
    assert table.touch("a", None)
    assert table.find("a").expiry is None  # type: ignore[union-attr]
    assert table.touch("a", FAR)
    assert table.touch("a", 1e-9)
    assert table.find("a") is None


def test_many_touches_do_not_pile_up(table: ObjectTable[bytes]) -> None:
    store(table, "a", b"x", ttl=FAR)
    for _ in range(1000):
        table.touch("a", FAR)
    assert len(table._expiries) < 100


def test_a_watcher_is_called_once_by_the_set_that_it_waits_for(table: ObjectTable[bytes]) -> None:
    calls: list[str] = []
    assert not table.watch("a", lambda: calls.append("a"))
    store(table, "b", b"another")
    assert calls == []
    store(table, "a", b"x")
    table.evict("a")
    store(table, "a", b"x")
    assert calls == ["a"]
    assert table.watch("a", lambda: calls.append("late"))


def test_a_watcher_that_was_taken_back_is_not_called(table: ObjectTable[bytes]) -> None:
    calls: list[str] = []

    def watcher() -> None:
        calls.append("a")

    table.watch("a", watcher)
    table.unwatch("a", watcher)
    table.unwatch("a", watcher)
    store(table, "a", b"x")
    assert calls == []


def test_of_threads_that_fill_the_table_none_passes_the_bound() -> None:
    table = ObjectTable[bytes]("a test", room(*[7] * 14) + 2)
    together = threading.Barrier(8, timeout=30)
    stored: list[str] = []

    def fill(thread: int) -> None:
        together.wait()
        for number in range(50):
            try:
                store(table, f"{thread}-{number}", bytes(7))
            except MediumFullError:
                continue
            stored.append(f"{thread}-{number}")

    threads = [threading.Thread(target=fill, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stored) == 14
    assert table.totals() == (14, room(*[7] * 14), room(*[7] * 14) + 2)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "replace", "evict", "touch", "expire"]),
        st.sampled_from("abc"),
        st.integers(0, 600),
    )
)


@given(steps=STEPS)
def test_any_order_of_calls_agrees_with_a_dict(steps: list[tuple[str, str, int]]) -> None:
    table, model = ObjectTable[bytes]("here", LIMIT), dict[str, int]()
    for step, object_id, nbytes in steps:
        if step == "evict":
            table.evict(object_id)
            model.pop(object_id, None)
        elif step == "touch":
            assert table.touch(object_id, FAR) is (object_id in model)
        elif step == "expire":
            assert table.touch(object_id, 1e-9) is (object_id in model)
            model.pop(object_id, None)
        else:
            _change(table, model, step, object_id, nbytes)
        table.sweep()
        assert (len(model), room(*model.values()), LIMIT) == table.totals()


def _change(
    table: ObjectTable[bytes], model: dict[str, int], step: str, object_id: str, nbytes: int
) -> None:
    fits = room(*model.values(), nbytes) <= LIMIT
    try:
        with table.reserve(nbytes) as reserved:
            assert fits
            if step == "set":
                table.set(object_id, bytes(nbytes), reserved)
            else:
                table.replace(object_id, bytes(nbytes), reserved)
        model[object_id] = nbytes
    except MediumFullError:
        assert not fits
    except KeyAlreadySetError:
        assert object_id in model
    except KeyNotSetError:
        assert object_id not in model
