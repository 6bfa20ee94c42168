"""A future ends with its lifetime, for who waits for it and for who sets it, however late."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from proxystore.connectors.keys import fresh_id
from proxystore.store import Store
from proxystore_patterns.errors import FutureAlreadyDoneError, LifetimeEndedError
from proxystore_patterns.futures import Future, as_completed, future, wait
from proxystore_patterns.lifetimes import ContextLifetime, LeaseLifetime, remove_leaks

TIMEOUT_S = 20
MakeStore = Callable[..., Store[Any]]


def n_stored(store: Store[Any]) -> int:
    return len(list(store.connector.entries()))


@pytest.fixture
def shm(make_store: MakeStore) -> Store[Any]:
    return make_store("shm")


_SET: dict[str, Callable[[Future[Any]], object]] = {
    "result": lambda made: made.set_result([1]),
    "exception": lambda made: made.set_exception(KeyError()),
}


@pytest.mark.parametrize("how", _SET)
@pytest.mark.parametrize("travel", [False, True], ids=["here", "by pickle"])
@pytest.mark.parametrize("had", [False, True], ids=["none", "had one"])
def test_an_outcome_that_comes_after_the_lifetime_is_refused(
    shm: Store[Any], how: str, travel: bool, had: bool
) -> None:
    with ContextLifetime(shm) as lifetime:
        made = future(shm, lifetime=lifetime)
        sent = pickle.loads(pickle.dumps(made)) if travel else made
        if had:
            made.set_result([0])
    with pytest.raises(LifetimeEndedError):
        _SET[how](sent)
    assert not sent.cancel()
    assert 0 == n_stored(shm)


def test_a_result_that_was_evicted_is_not_followed_by_another(shm: Store[Any]) -> None:
    made = future(shm)
    made.set_result([1])
    shm.evict(made.key)
    with pytest.raises(FutureAlreadyDoneError):
        made.set_result([2])
    assert not made.cancel()
    assert 0 == n_stored(shm)


_WAIT: dict[str, Callable[[Future[Any]], object]] = {
    "result": lambda made: made.result(TIMEOUT_S),
    "proxy": lambda made: str(pickle.loads(pickle.dumps(made.proxy(timeout=TIMEOUT_S)))),
    "as_completed": lambda made: [done.result() for done in as_completed([made], TIMEOUT_S)],
    "await": lambda made: asyncio.run(asyncio.wait_for(_awaited(made), TIMEOUT_S)),
}


async def _awaited(made: Future[Any]) -> Any:
    return await made


@pytest.mark.slow
@pytest.mark.parametrize("how", _WAIT)
def test_who_waits_as_the_lifetime_ends_is_told(store: Store[Any], how: str) -> None:
    lifetime = ContextLifetime(store)
    made = future(store, lifetime=lifetime)
    told: list[BaseException] = []

    def consume() -> None:
        try:
            _WAIT[how](made)
        except LifetimeEndedError as error:
            told.append(error)

    waiter = threading.Thread(target=consume)
    waiter.start()
    # Long enough to wait for the medium; what comes sooner is told as well.
    waiter.join(0.05)
    lifetime.close()
    waiter.join(TIMEOUT_S / 2)
    assert 1 == len(told)


@pytest.mark.parametrize("had", [False, True], ids=["none", "had one"])
def test_who_comes_after_the_lifetime_is_told_at_once(store: Store[Any], had: bool) -> None:
    with ContextLifetime(store) as lifetime:
        made = future(store, lifetime=lifetime)
        sent = pickle.loads(pickle.dumps(made))
        if had:
            made.set_result([1])
    for found in (made, sent):
        with pytest.raises(LifetimeEndedError, match="of future"):
            found.result()
        with pytest.raises(LifetimeEndedError, match="of future"):
            str(found.proxy())
        assert isinstance(found.exception(), LifetimeEndedError)
        assert found.done()
        assert not found.running()
        assert not found.cancelled()
        assert {found} == wait([found], return_when="FIRST_EXCEPTION").done


@pytest.mark.slow
def test_a_producer_that_is_killed_after_the_lifetime_keeps_nobody(
    store: Store[Any], run: Callable[..., Any]
) -> None:
    lifetime = ContextLifetime(store)
    made = future(store, lifetime=lifetime)
    producer = run(
        "with given.producing(lease=1):\n    say(given.running())\n    sys.stdin.readline()", made
    )
    assert producer.hear()
    lifetime.close()
    producer.kill()
    with pytest.raises(LifetimeEndedError):
        made.result()


@pytest.mark.slow
def test_a_death_that_is_seen_as_the_lifetime_ends_leaves_nothing(
    shm: Store[Any], run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lifetime = ContextLifetime(shm)
    made = future(shm, lifetime=lifetime)
    producer = run("with given.producing(lease=0.2):\n    say(1)\n    sys.stdin.readline()", made)
    assert producer.hear()
    producer.kill()
    set_by_medium = shm.connector.set

    def set_after_end(*args: Any, **options: Any) -> None:
        lifetime.close()
        set_by_medium(*args, **options)

    monkeypatch.setattr(shm.connector, "set", set_after_end)
    with pytest.raises(LifetimeEndedError):
        made.result(TIMEOUT_S)
    assert 0 == n_stored(shm)


def test_a_producer_at_work_is_told_that_the_lifetime_ended(shm: Store[Any]) -> None:
    with ContextLifetime(shm) as lifetime:
        made = future(shm, lifetime=lifetime)
        producing = made.producing()
        producing.__enter__()
    with pytest.raises(LifetimeEndedError) as told:
        made.set_result([1])
    assert not producing.__exit__(told.type, told.value, None)
    assert 0 == n_stored(shm)
    with pytest.raises(LifetimeEndedError), made.producing():
        pass
    assert 0 == n_stored(shm)


def test_an_error_of_a_producer_is_its_own_after_the_lifetime(shm: Store[Any]) -> None:
    def produce(made: Future[Any], lifetime: ContextLifetime) -> None:
        with made.producing():
            lifetime.close()
            raise KeyError

    lifetime = ContextLifetime(shm)
    with pytest.raises(KeyError):
        produce(future(shm, lifetime=lifetime), lifetime)
    assert 0 == n_stored(shm)


@pytest.mark.parametrize("step", range(4))
def test_whenever_the_lifetime_ends_nothing_is_left(
    shm: Store[Any], monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    lifetime = ContextLifetime(shm)
    made = future(shm, lifetime=lifetime)
    connector, calls = shm.connector, itertools.count()

    def ending(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            if next(calls) == step:
                lifetime.close()
            return call(*args, **options)

        return called

    for name in ("set", "exists", "evict"):
        monkeypatch.setattr(connector, name, ending(getattr(connector, name)))
    with suppress(LifetimeEndedError):
        made.set_result([1])
    lifetime.close()
    assert 0 == n_stored(shm)


def test_a_connector_of_the_older_system_refuses_what_it_cannot_end() -> None:
    class Older:
        """Makes keys before objects, and none of a given id."""

        def __init__(self) -> None:
            self.objects: dict[tuple[str], bytes] = {}

        def new_key(self) -> tuple[str]:
            return (fresh_id(),)

        def set(self, key: tuple[str], obj: bytes) -> None:
            self.objects[key] = obj

        def put(self, obj: bytes) -> tuple[str]:
            self.objects[key := self.new_key()] = obj
            return key

        put_batch = get_batch = None

        def get(self, key: tuple[str]) -> bytes | None:
            return self.objects.get(key)

        def exists(self, key: tuple[str]) -> bool:
            return key in self.objects

        def evict(self, key: tuple[str]) -> None:
            self.objects.pop(key, None)

        def config(self) -> dict[str, Any]:
            return {}

        def close(self) -> None:
            pass

    older = Older()
    with Store("older", older) as store:
        with ContextLifetime(store) as lifetime:
            made = future(store, lifetime=lifetime)
            future(store, lifetime=lifetime).set_result(1)
        assert {} == older.objects
        with pytest.raises(LifetimeEndedError, match="has ended"):
            made.set_result([1])
        assert {} == older.objects


def test_an_ended_lifetime_has_no_futures(shm: Store[Any]) -> None:
    lifetime = ContextLifetime(shm)
    lifetime.close()
    with pytest.raises(LifetimeEndedError):
        future(shm, lifetime=lifetime)
    assert 0 == n_stored(shm)


@pytest.mark.slow
def test_a_producer_elsewhere_learns_that_the_lifetime_was_killed(
    store: Store[Any], run: Callable[..., Any]
) -> None:
    owner = run(
        "from proxystore.store import get_store\n"
        "from proxystore_patterns.futures import future\n"
        "from proxystore_patterns.lifetimes import ContextLifetime\n"
        "store = get_store(given)\n"
        "lifetime = ContextLifetime(store)\n"
        "say(future(store, lifetime=lifetime))\n"
        "sys.stdin.readline()",
        store.proxy("any"),
    )
    made = owner.hear()
    owner.kill()
    assert all(leak.is_removed for leak in remove_leaks())
    with pytest.raises(LifetimeEndedError):
        made.set_result([1])
    assert not store.exists(made.key)


def test_a_lease_that_the_medium_ends_is_known_to_have_ended(shm: Store[Any]) -> None:
    lease = LeaseLifetime(shm, 60)
    made = future(shm, lifetime=lease)
    assert 1 == n_stored(shm)
    lease.extend(-59.95)
    while n_stored(shm):
        assert not shm.wait(shm.new_key(), 0.01)
    with pytest.raises(LifetimeEndedError):
        made.set_result([1])
    assert 0 == n_stored(shm)


def test_what_is_no_lifetime_leaves_nothing_in_the_store(shm: Store[Any]) -> None:
    wrong: Any = "text"
    with pytest.raises(TypeError, match=r"future\(lifetime=\) takes a lifetime, not 'text'"):
        future(shm, lifetime=wrong)
    assert 0 == n_stored(shm)
