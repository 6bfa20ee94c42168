"""Many owners in many processes; the object goes with the last of them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from proxystore.errors import CapabilityError
from proxystore.proxy import Proxy
from proxystore.store import Store
from proxystore_patterns.errors import ReferenceInvalidError
from proxystore_patterns.ownership import SharedProxy, borrow, clone, drop, own, share

SHORT = 1.0

Eventually = Callable[[Callable[[], object]], None]


def test_the_object_goes_with_its_last_owner(
    store: Store[Any],
    start_peer: Callable[[], Any],
    is_stored: Callable[[Any], bool],
    n_objects: Callable[[], int],
) -> None:
    shared, first, second = share(store, [1]), start_peer(), start_peer()
    assert isinstance(shared, SharedProxy)
    for peer in (first, second):
        peer.run("s = pickle.loads(data)", data=pickle.dumps(shared))
    first.run("del s")
    del shared
    assert second.run("result = list(s)") == [1]
    second.run("drop(s)")
    assert n_objects() == 0


def test_an_owner_that_exits_is_none_any_more(
    store: Store[Any], peer: Any, n_objects: Callable[[], int]
) -> None:
    shared = share(store, [1])
    peer.run("s = pickle.loads(data)", data=pickle.dumps(shared))
    del shared
    assert n_objects() > 0
    peer.leave()
    assert n_objects() == 0


def test_a_pickle_on_its_way_is_an_owner(
    store: Store[Any], peer: Any, n_objects: Callable[[], int]
) -> None:
    shared = share(store, [1])
    data = pickle.dumps(shared)
    del shared
    assert peer.run("s = pickle.loads(data); result = list(s)", data=data) == [1]
    peer.run("del s")
    assert n_objects() == 0


def test_one_pickle_may_be_opened_by_many(
    store: Store[Any], start_peer: Callable[[], Any], n_objects: Callable[[], int]
) -> None:
    data, peers = pickle.dumps(share(store, [1])), [start_peer() for _ in range(3)]
    for peer in peers:
        assert peer.run("s = pickle.loads(data); result = list(s)", data=data) == [1]
    for peer in peers[:-1]:
        peer.run("del s")
    assert peers[-1].run("result = len(s)") == 1
    peers[-1].run("del s")
    assert n_objects() == 0


def test_owners_pass_it_on(
    store: Store[Any], start_peer: Callable[[], Any], n_objects: Callable[[], int]
) -> None:
    data = pickle.dumps(share(store, [1]))
    for _ in range(3):
        peer = start_peer()
        data = peer.run("s = pickle.loads(data); result = pickle.dumps(s)", data=data)
        peer.run("del s")
    assert pickle.loads(data) == [1]
    assert n_objects() == 0


def test_a_pickle_that_is_opened_after_the_last_owner_left_says_so(
    store: Store[Any], n_objects: Callable[[], int]
) -> None:
    data = pickle.dumps(share(store, [1]))
    first = pickle.loads(data)
    del first
    late = pickle.loads(data)
    with pytest.raises(ReferenceInvalidError, match="all other owners had gone"):
        len(late)
    del late
    assert n_objects() == 0


def test_what_was_dropped_says_so(store: Store[Any]) -> None:
    shared = share(store, [1])
    drop(shared)
    for refused in (len, pickle.dumps):
        with pytest.raises(ReferenceInvalidError, match="it was dropped here"):
            refused(shared)


def test_a_clone_belongs_to_one(store: Store[Any]) -> None:
    copy = clone(share(store, [1]))
    copy.append(2)
    assert copy == [1, 2]


class Bare:
    """Knows the contract of the older system only."""

    def __init__(self) -> None:
        self.objects: dict[Any, bytes] = {}

    def put(self, obj: bytes) -> Any:
        key = (len(self.objects),)
        self.objects[key] = bytes(obj)
        return key

    def get(self, key: Any) -> bytes | None:
        return self.objects.get(key)

    def exists(self, key: Any) -> bool:
        return key in self.objects

    def evict(self, key: Any) -> None:
        self.objects.pop(key, None)

    def get_batch(self, keys: Any) -> Any:
        return [self.get(key) for key in keys]

    def put_batch(self, objs: Any) -> Any:
        return [self.put(obj) for obj in objs]

    def config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: Any) -> Any:
        return cls()

    def close(self) -> None:
        pass


def test_a_medium_that_cannot_pass_it_on_is_refused_by_name() -> None:
    with Store("bare", Bare()) as store:
        with pytest.raises(CapabilityError, match=r"share\(\) needs a connector that is"):
            share(store, [1])
        proxy = own(store, [1])
        with pytest.raises(CapabilityError, match="Pickling OwnedProxy needs"):
            pickle.dumps(proxy)
        with pytest.raises(CapabilityError, match="Pickling a borrow needs"):
            pickle.dumps(borrow(proxy))
        assert proxy == [1]


@pytest.mark.slow
def test_a_killed_owner_is_none_after_its_lease(
    store: Store[Any], peer: Any, eventually: Eventually, n_objects: Callable[[], int]
) -> None:
    shared = share(store, [1], lease=SHORT)
    before = n_objects()
    peer.run("s = pickle.loads(data)", data=pickle.dumps(shared))
    peer.kill()
    # Two places were given, and are known to have been; their leases end.
    eventually(lambda: n_objects() == before + 2)
    assert shared == [1]
    del shared
    assert n_objects() == 0


@pytest.mark.slow
def test_when_all_owners_were_killed_the_medium_ends_the_object(
    store: Store[Any],
    start_peer: Callable[[], Any],
    pass_time: Callable[[float], None],
    eventually: Eventually,
) -> None:
    first, second = start_peer(), start_peer()
    first.run("shared = share(Store.from_url(url), [1], lease=t)", url=store.url, t=SHORT)
    second.run("s = pickle.loads(data)", data=first.run("result = pickle.dumps(shared)"))
    key = first.run("result = get_factory(shared).estate.key")
    pass_time(1.5 * SHORT)
    assert store.exists(key)
    first.kill()
    second.kill()
    eventually(lambda: not store.exists(key))


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, 8))
def test_an_owner_killed_at_any_step_takes_nothing_from_the_others(
    store: Store[Any], peer: Any, eventually: Eventually, step: int
) -> None:
    shared = share(store, [1], lease=SHORT)
    data = pickle.dumps(shared)
    peer.run("s = Store.from_url(url)", url=store.url)
    peer.run("die_at(s, step)", step=step)
    with pytest.raises((EOFError, BrokenPipeError)):
        peer.run("x = pickle.loads(data); len(x); y = pickle.dumps(x); del x", data=data)
        peer.kill()
        raise EOFError
    again: Proxy[Any] = pickle.loads(pickle.dumps(shared))
    key = shared.__proxy_factory__.estate.key
    del shared
    assert again == [1]
    del again
    eventually(lambda: not store.exists(key))


@pytest.mark.slow
def test_many_owners_come_and_go_and_none_is_missed(
    store: Store[Any], start_peer: Callable[[], Any], n_objects: Callable[[], int]
) -> None:
    peers = [start_peer() for _ in range(3)]
    data = pickle.dumps(share(store, [1]))
    for peer in peers:
        peer.run("s = pickle.loads(data)", data=data)
    come_and_go = """
for _ in range(15):
    other = pickle.loads(pickle.dumps(s))
    assert other == [1]
    del other
other = pickle.loads(pickle.dumps(s))
del s
assert other == [1]
del other
"""
    for peer in peers:
        peer.send(come_and_go)
    for peer in peers:
        peer.receive()
    assert n_objects() == 0
