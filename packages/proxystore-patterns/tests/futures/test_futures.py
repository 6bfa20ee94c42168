"""Futures: one result, given once, and got wherever the future or its proxy is."""

from __future__ import annotations

import asyncio
import copyreg
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.abc import Capability
from proxystore.connectors.local import LocalConnector
from proxystore.errors import (
    CapabilityError,
    CorruptObjectError,
    MediumFullError,
    SerializationError,
)
from proxystore.proxy import Proxy, ProxyResolveError, is_resolved
from proxystore.store import Store, get_key, get_store
from proxystore.testing import MemoryConnector
from proxystore_patterns.errors import (
    FutureAlreadyDoneError,
    FutureCancelledError,
    FuturesTimeoutError,
    FutureTimeoutError,
    NoResultError,
    ProducerDiedError,
    ProducerRaisedError,
    ResultTakenError,
)
from proxystore_patterns.futures import Future, as_completed, future, wait

TIMEOUT_S = 20

MakeStore = Callable[..., Store[Any]]


@pytest.fixture
def local(make_store: MakeStore) -> Store[Any]:
    return make_store("local")


def test_a_result_is_got_as_it_was_set(store: Store[Any]) -> None:
    made: Future[dict[str, Any]] = future(store)
    assert not made.done()
    made.set_result({"a": np.arange(3), "b": None})
    assert made.done()
    assert [0, 1, 2] == made.result(TIMEOUT_S)["a"].tolist()
    assert made.exception() is None
    assert not made.cancelled()


@pytest.mark.parametrize("value", [None, False, 0, "", (), b"", ("error", 1), ("cancelled",)])
def test_every_value_is_a_result(local: Store[Any], value: object) -> None:
    made = future(local)
    made.set_result(value)
    assert value == made.result(TIMEOUT_S)


def test_a_proxy_waits_for_the_result_where_it_is_used(store: Store[Any]) -> None:
    made = future(store)
    proxy = pickle.loads(pickle.dumps(made.proxy(timeout=TIMEOUT_S)))
    assert not is_resolved(proxy)
    threading.Timer(0.02, made.set_result, (np.ones(4),)).start()
    assert 4 == proxy.sum()
    assert isinstance(proxy, np.ndarray)


def test_a_proxy_of_a_future_is_one_of_its_store(local: Store[Any]) -> None:
    made = future(local)
    assert made.key == get_key(made.proxy())
    assert local is get_store(made.proxy())


def test_futures_and_their_proxies_pickle_small(store: Store[Any]) -> None:
    made = future(store)
    assert len(pickle.dumps(made.proxy())) <= 240
    assert len(pickle.dumps(made)) <= 260


def test_a_copy_of_a_future_is_the_same_future(store: Store[Any]) -> None:
    made = future(store)
    copy = pickle.loads(pickle.dumps(made))
    copy.set_result(1)
    assert 1 == made.result(TIMEOUT_S)
    assert copy.key == made.key


def test_the_first_outcome_stands(store: Store[Any]) -> None:
    made = future(store)
    made.set_result(1)
    copy = pickle.loads(pickle.dumps(made))
    for second in (
        lambda: copy.set_result(2),
        lambda: copy.set_exception(ValueError("late")),
        lambda: made.set_result(2),
    ):
        with pytest.raises(FutureAlreadyDoneError, match="already has a result"):
            second()
    assert not copy.cancel()
    assert 1 == copy.result(TIMEOUT_S)


def test_of_threads_that_set_one_future_exactly_one_wins(store: Store[Any]) -> None:
    made, together, wins = future(store), threading.Barrier(6), []

    def contend(number: int) -> None:
        together.wait(TIMEOUT_S)
        try:
            made.set_result(number)
        except FutureAlreadyDoneError:
            return
        wins.append(number)

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert [made.result(TIMEOUT_S)] == wins


def _failed(number: int) -> None:
    raise ValueError(f"not {number}")


def test_the_exception_of_the_producer_is_raised_as_itself(store: Store[Any]) -> None:
    made = future(store)
    try:
        _failed(7)
    except ValueError as error:
        made.set_exception(error)
    copy = pickle.loads(pickle.dumps(made))
    for use in (copy.result, lambda: copy.proxy() + 1, lambda: len(copy.proxy())):
        with pytest.raises(ValueError, match="not 7") as caught:
            use()
        assert type(caught.value) is ValueError
        assert "not 7" == str(caught.value)
        assert "in _failed" in caught.value.__notes__[0]
    assert isinstance(copy.exception(), ValueError)
    assert made.done()


def test_each_who_asks_gets_an_exception_of_its_own(local: Store[Any]) -> None:
    made = future(local)
    made.set_exception(ValueError("once"))
    assert made.exception() is not made.exception()
    assert not hasattr(made.exception(), "__notes__")


def test_an_exception_that_means_an_answer_does_not_pass_for_one(local: Store[Any]) -> None:
    made = future(local)
    made.set_exception(AttributeError("of the producer"))
    with pytest.raises(ProxyResolveError) as caught:
        hasattr(made.proxy(), "anything")
    assert isinstance(caught.value.cause, AttributeError)
    with pytest.raises(AttributeError, match="of the producer"):
        made.result()


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("never")


class Unloadable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (Unpicklable("secret life"), "could not be serialized"),
        (Unloadable(1, 2), "missing 1 required positional argument"),
        (SystemExit(3), "it is no Exception"),
        (StopIteration(3), "a loop would take it for its end"),
        (StopAsyncIteration(3), "a loop would take it for its end"),
    ],
)
def test_what_cannot_be_raised_as_itself_is_told(
    local: Store[Any], error: BaseException, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Older Parsl, which other tests import, has every class of exceptions pickled its own way.
    monkeypatch.delitem(copyreg.dispatch_table, type(error), raising=False)
    made = future(local)
    made.set_exception(error)
    for use in (lambda: str(made.proxy()), lambda: list(map(Future.result, [made])), made.result):
        with pytest.raises(ProducerRaisedError, match=why) as caught:
            use()
    assert isinstance(made.exception(), ProducerRaisedError)
    assert type(error).__qualname__ == caught.value.type_name
    assert str(error) in str(caught.value)


def test_a_cancelled_future_has_no_result(store: Store[Any]) -> None:
    made = future(store)
    copy = pickle.loads(pickle.dumps(made))
    assert made.cancel()
    assert made.cancelled()
    assert copy.cancelled()
    assert made.cancel(), "it is cancelled, as was asked"
    with pytest.raises(FutureCancelledError):
        copy.result()
    with pytest.raises(FutureCancelledError):
        str(copy.proxy())
    with pytest.raises(FutureAlreadyDoneError, match="been cancelled"):
        copy.set_result(1)


def test_waits_end_at_their_timeout(store: Store[Any]) -> None:
    made = future(store)
    for look in (
        lambda: made.result(0.03),
        lambda: made.result(0),
        lambda: made.exception(0.03),
        lambda: str(made.proxy(timeout=0.03)),
        lambda: str(pickle.loads(pickle.dumps(made.proxy(timeout=0.03)))),
    ):
        with pytest.raises(FutureTimeoutError, match="nobody said to have begun"):
            look()


@pytest.mark.parametrize("timeout", [-1, float("-inf"), 1e-320])
def test_a_wait_of_less_than_no_time_looks_once(local: Store[Any], timeout: float) -> None:
    made = future(local)
    with pytest.raises(FutureTimeoutError):
        made.result(timeout)
    made.set_result(1)
    assert 1 == made.result(timeout)


@pytest.mark.parametrize("timeout", [float("inf"), 1e12])
def test_a_wait_may_be_longer_than_any_clock_counts(store: Store[Any], timeout: float) -> None:
    made = future(store)
    threading.Timer(0.02, made.set_result, (1,)).start()
    assert 1 == int(made.proxy(timeout=timeout))
    assert 1 == made.result(timeout)


def test_what_futures_cannot_be_made_of_is_named(local: Store[Any]) -> None:
    made = future(local)
    wrong: list[Any] = [None, local.connector, local.proxy([1])]
    for found in wrong:
        with pytest.raises(TypeError, match="takes a Store, and got a"):
            future(found)
    wrong = ["text", None, ValueError]
    for found in wrong:
        with pytest.raises(TypeError, match="takes an exception, and got a"):
            made.set_exception(found)
    assert not made.done()


_TIMEOUTS: dict[str, Callable[[Future[Any], Any], object]] = {
    "result": lambda made, timeout: made.result(timeout),
    "exception": lambda made, timeout: made.exception(timeout),
    "proxy": lambda made, timeout: made.proxy(timeout=timeout),
    "wait": lambda made, timeout: wait([made], timeout),
    "as_completed": lambda made, timeout: next(as_completed([made], timeout)),
}


@pytest.mark.parametrize("use", _TIMEOUTS)
def test_a_timeout_is_a_number_of_seconds(local: Store[Any], use: str) -> None:
    refused: list[tuple[Any, type[Exception]]] = [
        (float("nan"), ValueError),
        ("3", TypeError),
        (True, TypeError),
    ]
    for timeout, error in refused:
        with pytest.raises(error, match=f"A timeout takes a number of .*, not {timeout!r}"):
            _TIMEOUTS[use](future(local), timeout)


def test_less_than_no_time_is_told_as_none(local: Store[Any]) -> None:
    made = future(local)
    with pytest.raises(FutureTimeoutError, match="within 0 s"):
        made.result(-1)
    with pytest.raises(FuturesTimeoutError, match="within 0 s"):
        list(as_completed([made], -1))


def test_a_result_that_cannot_be_serialized_leaves_the_future_as_it_was(local: Store[Any]) -> None:
    made = future(local)
    with pytest.raises(SerializationError):
        made.set_result(threading.Lock())
    assert not made.done()
    made.set_result(1)


def test_a_result_for_one_consumer_goes_to_one(store: Store[Any]) -> None:
    made = future(store, evict=True)
    made.set_result([1])
    copy = pickle.loads(pickle.dumps(made))
    assert [1] == list(made.proxy())
    for late in (lambda: copy.result(TIMEOUT_S), lambda: str(copy.proxy())):
        with pytest.raises((ResultTakenError, ProxyResolveError), match="was taken"):
            late()
    with pytest.raises(FutureAlreadyDoneError):
        copy.set_result([2])


@pytest.mark.parametrize("whose", ["store", "future"])
def test_serializers_of_the_user_are_used_for_results_only(
    make_store: MakeStore, whose: str
) -> None:
    given = {"serializer": lambda array: array.tobytes(), "deserializer": np.frombuffer}
    made = (
        future(make_store("local", **given))
        if whose == "store"
        else future(make_store("local"), **given)
    )
    made.set_result(np.ones(3))
    assert [1.0, 1.0, 1.0] == made.result(TIMEOUT_S).tolist()
    failed = future(made.store)
    failed.set_exception(ValueError("no array"))
    with pytest.raises(ValueError, match="no array"):
        failed.result(TIMEOUT_S)


def test_what_a_deserializer_raises_does_not_pass_for_the_producers(local: Store[Any]) -> None:
    def exhausted(_: bytes) -> None:
        raise StopIteration

    made = future(local, serializer=str.encode, deserializer=exhausted)
    made.set_result("text")
    for use in (made.result, lambda: str(made.proxy()), lambda: asyncio.run(_awaited(made))):
        with pytest.raises(SerializationError, match=r"deserializer .* failed on the result"):
            use()


async def _awaited(made: Future[Any]) -> None:
    await asyncio.wait_for(made, TIMEOUT_S)


def test_a_serializer_travels_with_the_future(make_store: MakeStore) -> None:
    made = future(make_store("shm"), serializer=str.encode, deserializer=bytes.decode)
    copy = pickle.loads(pickle.dumps(made))
    copy.set_result("text")
    assert "text" == made.result(TIMEOUT_S) == str(pickle.loads(pickle.dumps(made.proxy())))


def test_a_block_that_produces_gives_the_result(store: Store[Any]) -> None:
    made = future(store)
    assert not made.running()
    with made.producing():
        assert made.running()
        with pytest.raises(FutureTimeoutError, match="its producer is at work"):
            made.result(0.01)
        made.set_result(1)
    assert not made.running()
    assert 1 == made.result()


def test_a_block_that_raises_gives_its_exception(store: Store[Any]) -> None:
    made = future(store)
    with pytest.raises(ZeroDivisionError), made.producing():
        1 / 0
    with pytest.raises(ZeroDivisionError):
        made.result(0)


def test_a_block_that_gives_nothing_is_told_on_both_sides(store: Store[Any]) -> None:
    made = future(store)
    with pytest.raises(NoResultError), made.producing():
        pass
    with pytest.raises(NoResultError):
        made.result(0)


def test_nobody_produces_what_is_done(store: Store[Any]) -> None:
    made = future(store)
    made.cancel()
    with pytest.raises(FutureAlreadyDoneError), made.producing():
        raise AssertionError("there is nothing to do")


def test_a_block_that_was_cancelled_meanwhile_says_so(store: Store[Any]) -> None:
    made = future(store)
    with pytest.raises(FutureAlreadyDoneError, match="been cancelled"), made.producing():
        made.cancel()
        made.set_result(1)
    assert made.cancelled()


def test_what_the_medium_cannot_do_is_named(local: Store[Any]) -> None:
    class PlainConnector(MemoryConnector):
        can: frozenset[Capability] = frozenset()

        @property
        def capabilities(self) -> frozenset[Capability]:
            return self.can

    with Store("plain", PlainConnector()) as plain:
        with pytest.raises(CapabilityError, match="deferrable"):
            future(plain)
    PlainConnector.can = frozenset({Capability.DEFERRABLE})
    with Store("deferrable", PlainConnector()) as deferrable:
        made = future(deferrable)
        with pytest.raises(CapabilityError, match="leasable"), made.producing():
            pass
        threading.Timer(0.02, made.set_result, (1,)).start()
        assert 1 == made.result(TIMEOUT_S)
        with pytest.raises(CapabilityError, match=r"evict=True.* replaceable"):
            future(deferrable, evict=True)
    PlainConnector.can = frozenset({Capability.DEFERRABLE, Capability.REPLACEABLE})
    with Store("replaceable", PlainConnector()) as replaceable:
        taken = future(replaceable, evict=True)
        taken.set_result(2)
        assert 2 == taken.result()
        with pytest.raises(ResultTakenError):
            taken.result(TIMEOUT_S)


_KINDS = st.sampled_from(["value", "dumped", "error", "cancelled", "taken"])
_PARTS = st.one_of(
    st.just(np.zeros(2)), st.none(), st.text(max_size=3), st.binary(max_size=3), st.integers()
)


@given(st.tuples(_KINDS) | st.lists(_KINDS | _PARTS, max_size=6).map(tuple) | _PARTS)
def test_what_else_is_under_the_key_is_no_outcome(found: object) -> None:
    with Store("other", LocalConnector()) as store:
        made: Future[object] = future(store)
        store.set(made.key, found)
        try:
            error = made.exception()
            if error is None:
                made.result()
        except CorruptObjectError as corrupt:
            assert "no outcome of a future" in str(corrupt)  # noqa: PT017
        except SerializationError:
            # Bytes that nothing can load, where those of a result were.
            assert isinstance(found, tuple)
            assert "dumped" == found[0]


def test_a_future_ends_with_its_lifetime(local: Store[Any]) -> None:
    class Lifetime:
        def add_key(self, *keys: Any, store: Any = None) -> None:
            self.keys = keys

    lifetime = Lifetime()
    made = future(local, lifetime=lifetime)
    assert made.key in lifetime.keys
    with pytest.raises(ValueError, match="Leave out one"):
        future(local, lifetime=lifetime, evict=True)


def test_what_futures_cost_is_measured(make_store: MakeStore) -> None:
    store = make_store("local", metrics=True)
    made = future(store)
    made.set_result(b"x")
    resolved = str(made.proxy())
    assert store.metrics is not None
    metrics = store.metrics.get_metrics(made.key)
    assert resolved
    assert metrics is not None
    assert {"store.future", "store.set", "store.wait", "factory.resolve"} <= set(metrics.times)


def test_a_future_shows_itself_without_asking_anybody(local: Store[Any]) -> None:
    made = future(local)
    assert repr(made.key) in repr(made)
    assert "Future" in repr(made.proxy())
    local.close()
    assert repr(made.key) in repr(made)


def test_proxies_are_typed_as_such(local: Store[Any]) -> None:
    made: Future[int] = future(local)
    made.set_result(3)
    proxy: Proxy[int] = made.proxy()
    assert 4 == proxy + 1


def test_a_callback_that_ends_the_interpreter_keeps_no_other_waiting(local: Store[Any]) -> None:
    first, second = future(local), future(local)
    called = threading.Event()

    def leave(_: object) -> None:
        raise SystemExit

    first.add_done_callback(leave)
    second.add_done_callback(lambda _: called.set())
    first.set_result(1)
    second.set_result(2)
    assert called.wait(20)


def test_a_producer_that_has_no_room_for_its_outcome_is_taken_for_dead(
    local: Store[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = future(local)

    def full(*_: Any, **__: Any) -> None:
        raise MediumFullError("this medium", 1, "Evict objects.")

    with pytest.raises(MediumFullError), made.producing(lease=60):
        monkeypatch.setattr(local.connector, "set", full)
        made.set_result(1)
    monkeypatch.undo()
    with pytest.raises(ProducerDiedError):
        made.result(20)
