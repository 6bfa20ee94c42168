"""The result of a future ends with its lifetime, whoever sets it and however late."""

from __future__ import annotations

import itertools
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest

from proxystore.connectors.keys import fresh_id
from proxystore.store import Store
from proxystore_patterns.errors import LifetimeEndedError
from proxystore_patterns.futures import Future, future
from proxystore_patterns.futures import _late as late
from proxystore_patterns.lifetimes import ContextLifetime, LeaseLifetime, remove_leaks

TIMEOUT_S = 20
MakeStore = Callable[..., Store[Any]]


def n_stored(store: Store[Any]) -> int:
    return len(list(store.connector.entries()))


@pytest.fixture
def shm(make_store: MakeStore) -> Store[Any]:
    return make_store("shm")


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "_GRACE_SECONDS", 0.05)


_SET: dict[str, Callable[[Future[Any]], object]] = {
    "result": lambda made: made.set_result([1]),
    "exception": lambda made: made.set_exception(KeyError()),
    "cancel": lambda made: made.cancel(),
}


@pytest.mark.parametrize("how", _SET)
@pytest.mark.parametrize("travel", [False, True], ids=["here", "by pickle"])
@pytest.mark.usefixtures("brief")
def test_an_outcome_that_comes_after_the_lifetime_ends_by_itself(
    shm: Store[Any], how: str, travel: bool
) -> None:
    with ContextLifetime(shm) as lifetime:
        made = future(shm, lifetime=lifetime)
        sent = pickle.loads(pickle.dumps(made)) if travel else made
    _SET[how](sent)
    while shm.exists(made.key):
        assert not shm.wait(shm.new_key(), 0.01)
    assert 0 == n_stored(shm)


def test_who_waited_as_the_lifetime_ended_gets_the_result(shm: Store[Any]) -> None:
    with ContextLifetime(shm) as lifetime:
        made = future(shm, lifetime=lifetime)
        got: list[Any] = []
        waiter = threading.Thread(target=lambda: got.append(made.result(TIMEOUT_S)))
        waiter.start()
    made.set_result([1])
    waiter.join()
    assert [[1]] == got


@pytest.mark.parametrize("step", range(4))
@pytest.mark.usefixtures("brief")
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

    for name in ("set", "exists", "touch"):
        monkeypatch.setattr(connector, name, ending(getattr(connector, name)))
    made.set_result([1])
    lifetime.close()
    while n_stored(shm):
        assert not shm.wait(shm.new_key(), 0.01)


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
    store: Store[Any], run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "_GRACE_SECONDS", 0.05)
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
    made.set_result([1])
    while made.store.exists(made.key):
        assert not store.wait(store.new_key(), 0.01)


def test_a_lease_that_the_medium_ends_is_known_to_have_ended(
    shm: Store[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "_GRACE_SECONDS", 0.05)
    lease = LeaseLifetime(shm, 60)
    made = future(shm, lifetime=lease)
    assert 1 == n_stored(shm)
    lease.extend(-59.95)
    while n_stored(shm):
        assert not shm.wait(shm.new_key(), 0.01)
    made.set_result([1])
    while n_stored(shm):
        assert not shm.wait(shm.new_key(), 0.01)
