"""Ownership moves through pickle exactly once, whoever dies on the way."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

import pytest

from proxystore.connectors.local import LocalConnector
from proxystore.errors import ConnectorUnavailableError
from proxystore.proxy import Proxy, ProxyResolveError, extract, get_factory, is_resolved
from proxystore.store import Store
from proxystore_patterns.errors import ReferenceInvalidError, ReferenceMovedError
from proxystore_patterns.ownership import OwnedProxy, borrow, clone, drop, own, share, update

DATA = list(range(1000))


def test_who_opens_the_pickle_owns_the_object(store: Store[Any], peer: Any) -> None:
    proxy = own(store, DATA)
    peer.run("p = pickle.loads(data)", data=pickle.dumps(proxy))
    assert peer.run("result = type(p).__name__, sum(p)") == ("OwnedProxy", sum(DATA))


def test_the_sender_is_told_by_whom_it_was_opened(store: Store[Any], peer: Any) -> None:
    proxy = own(store, DATA)
    peer.run("p = pickle.loads(data)", data=pickle.dumps(proxy))
    for _ in range(2):
        with pytest.raises(ReferenceMovedError, match=f"process {peer.process.pid} on host"):
            len(proxy)
    for refused in (drop, borrow, clone, update, pickle.dumps):
        with pytest.raises(ReferenceMovedError):
            refused(proxy)


def test_the_same_bytes_opened_twice_never_make_two_owners(
    store: Store[Any], start_peer: Callable[[], Any], is_stored: Callable[[Any], bool]
) -> None:
    proxy = own(store, DATA)
    data, first, second = pickle.dumps(proxy), start_peer(), start_peer()
    first.run("p = pickle.loads(data)", data=data)
    second.run("p = pickle.loads(data)", data=data)
    with pytest.raises(ReferenceMovedError, match=f"process {first.process.pid} "):
        second.run("len(p)")
    second.run("del p")
    assert first.run("result = sum(p)") == sum(DATA)
    assert is_stored(proxy)


@pytest.mark.slow
def test_of_many_who_open_the_same_bytes_at_once_one_owns(
    store: Store[Any], start_peer: Callable[[], Any]
) -> None:
    peers = [start_peer() for _ in range(3)]
    for peer in peers:
        peer.run("import proxystore_patterns.ownership")
    for _ in range(20):
        data = pickle.dumps(own(store, DATA))
        for peer in peers:
            peer.send("p = pickle.loads(data)", data=data)
        for peer in peers:
            peer.receive()
        owners = 0
        for peer in peers:
            try:
                owners += peer.run("result = sum(p)") == sum(DATA)
            except ReferenceMovedError:
                pass
        assert owners == 1


def test_a_sender_that_uses_its_proxy_again_makes_the_bytes_void(
    store: Store[Any], peer: Any, is_stored: Callable[[Any], bool]
) -> None:
    proxy = own(store, DATA)
    data = pickle.dumps(proxy)
    assert sum(proxy) == sum(DATA)
    peer.run("p = pickle.loads(data)", data=data)
    with pytest.raises(ReferenceMovedError, match=f"process {os.getpid()} "):
        peer.run("len(p)")
    peer.run("del p")
    assert is_stored(proxy)
    peer.run("p = pickle.loads(data)", data=pickle.dumps(proxy))
    assert peer.run("result = sum(p)") == sum(DATA)


def test_pickling_that_is_aborted_changes_nothing(
    store: Store[Any], is_stored: Callable[[Any], bool]
) -> None:
    target = list(DATA)
    proxy = own(store, target)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps([proxy, lambda: None])
    assert extract(proxy) is target
    drop(proxy)
    assert not is_stored(proxy)


def test_bytes_that_are_lost_lose_nothing(store: Store[Any]) -> None:
    proxy = own(store, DATA)
    for _ in range(3):
        pickle.dumps(proxy)
    assert sum(proxy) == sum(DATA)


def test_a_proxy_that_was_sent_and_deleted_here_lives_on(
    store: Store[Any], peer: Any, n_objects: Callable[[], int]
) -> None:
    proxy = own(store, DATA)
    data = pickle.dumps(proxy)
    del proxy
    peer.run("p = pickle.loads(data)", data=data)
    assert peer.run("result = sum(p)") == sum(DATA)
    peer.run("del p")
    assert n_objects() == 0


def test_after_many_moves_the_last_owner_removes_everything(
    store: Store[Any], peer: Any, n_objects: Callable[[], int]
) -> None:
    proxy = own(store, DATA)
    for _ in range(5):
        peer.run("p = pickle.loads(data)", data=pickle.dumps(proxy))
        proxy = pickle.loads(peer.run("result = pickle.dumps(p)"))
        peer.run("del p")
    assert sum(proxy) == sum(DATA)
    del proxy
    assert n_objects() == 0


def test_a_move_between_processes_keeps_what_was_updated(store: Store[Any], peer: Any) -> None:
    proxy = own(store, [1])
    data = peer.run(
        "p = pickle.loads(data); p.append(2); update(p); result = pickle.dumps(p)",
        data=pickle.dumps(proxy),
    )
    assert pickle.loads(data) == [1, 2]


def test_bytes_that_are_opened_after_the_object_was_dropped_say_so(
    store: Store[Any], n_objects: Callable[[], int]
) -> None:
    proxy = own(store, DATA)
    data = pickle.dumps(proxy)
    drop(proxy)
    late = pickle.loads(data)
    with pytest.raises(ReferenceInvalidError, match="its object is gone: dropped elsewhere"):
        len(late)
    del late
    assert n_objects() == 0


def test_a_sender_is_told_that_the_object_was_moved_and_dropped_there(
    store: Store[Any], peer: Any, n_objects: Callable[[], int]
) -> None:
    proxy = own(store, DATA)
    peer.run("p = pickle.loads(data); drop(p)", data=pickle.dumps(proxy))
    for _ in range(2):
        with pytest.raises(ReferenceInvalidError, match="its object is gone"):
            len(proxy)
    assert n_objects() == 0


def test_a_thread_that_resolves_while_another_pickles_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given, go_on = threading.Event(), threading.Event()

    def paused(factory: Any) -> Any:
        target = factory.resolve()
        given.set()
        assert go_on.wait(30)
        return target

    with Store("here", LocalConnector()) as store, ThreadPoolExecutor(2) as pool:
        proxy = own(store, DATA, populate_target=False)
        with monkeypatch.context() as patched:
            patched.setattr(type(get_factory(proxy)), "__call__", paused)
            using = pool.submit(len, proxy)
            assert given.wait(30)
            pickling = pool.submit(pickle.dumps, proxy)
            # If it did not wait, it would be done by then.
            wait([pickling], timeout=0.05)
            go_on.set()
            assert using.result(30) == len(DATA)
            moved = pickle.loads(pickling.result(30))
        assert not is_resolved(proxy)
        assert len(moved) == len(DATA)
        with pytest.raises(ReferenceMovedError):
            len(proxy)


# --- Deaths ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, 5))
def test_a_receiver_that_is_killed_leaves_one_owner_or_none_but_never_two(
    store: Store[Any], start_peer: Callable[[], Any], step: int
) -> None:
    proxy, dying, heir = own(store, DATA), start_peer(), start_peer()
    data = pickle.dumps(proxy)
    dying.run("s = Store.from_url(url)", url=store.url)
    dying.run("die_at(s, step)", step=step)
    with pytest.raises((EOFError, BrokenPipeError)):
        dying.run("p = pickle.loads(data); len(p); p.append(1); update(p); del p", data=data)
        dying.kill()
        raise EOFError
    heir.run("p = pickle.loads(data)", data=data)
    owners = 0
    for use in (lambda: heir.run("result = len(p)"), lambda: len(proxy)):
        try:
            owners += use() == len(DATA)
        except ReferenceMovedError:
            pass
    # Before it has the claim, after, and when it lets go.
    assert owners == (1 if step == 1 else 0)


def test_a_sender_that_is_killed_after_pickling_has_sent_it(store: Store[Any], peer: Any) -> None:
    data = peer.run("p = own(Store.from_url(url), [1, 2]); result = pickle.dumps(p)", url=store.url)
    peer.kill()
    proxy = pickle.loads(data)
    assert proxy == [1, 2]


@pytest.mark.slow
def test_the_medium_ends_what_a_killed_owner_leased(
    store: Store[Any],
    peer: Any,
    pass_time: Callable[[float], None],
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    # The sender renews it until somebody else has it.
    proxy = own(store, DATA, lease=1.0)
    key = get_factory(proxy).estate.key
    peer.run("p = pickle.loads(data)", data=pickle.dumps(proxy))
    # Renewed for as long as the owner lives.
    pass_time(1.5)
    assert store.exists(key)
    peer.kill()
    eventually(lambda: not store.exists(key))


# --- Ends -----------------------------------------------------------------------


def test_an_owner_that_is_deleted_removes_the_object(
    store: Store[Any], n_objects: Callable[[], int]
) -> None:
    proxy = own(store, DATA)
    assert n_objects() == 1
    del proxy
    assert n_objects() == 0


def test_an_owner_that_exits_removes_the_object(
    store: Store[Any], peer: Any, n_objects: Callable[[], int]
) -> None:
    peer.run("p = own(Store.from_url(url), [1, 2])", url=store.url)
    assert n_objects() == 1
    peer.leave()
    assert peer.process.returncode == 0
    assert n_objects() == 0


def test_a_dropped_proxy_says_so(store: Store[Any]) -> None:
    proxy = own(store, DATA)
    drop(proxy)
    for refused in (len, drop, borrow, pickle.dumps):
        with pytest.raises(ReferenceInvalidError, match="its object was dropped"):
            refused(proxy)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_child_may_read_and_neither_owns_nor_ends(
    store: Store[Any], is_stored: Callable[[Any], bool]
) -> None:
    proxy, unresolved = own(store, DATA), own(store, DATA, populate_target=False)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert sum(proxy) == sum(unresolved) == sum(DATA)
            for refused in (borrow, drop, pickle.dumps):
                with pytest.raises(ReferenceInvalidError, match="forked"):
                    refused(proxy)
            del proxy, unresolved
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert is_stored(proxy)
    assert is_stored(unresolved)


def test_within_a_process_a_move_works_with_any_store() -> None:
    with Store("here", LocalConnector()) as store:
        proxy = own(store, DATA)
        moved = pickle.loads(pickle.dumps(proxy))
        assert isinstance(moved, OwnedProxy)
        assert isinstance(moved, Proxy)
        assert not is_resolved(proxy)
        assert sum(moved) == sum(DATA)
        with pytest.raises(ReferenceMovedError):
            len(proxy)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_an_owner_in_a_worker_that_ends_removes_the_object(
    store: Store[Any], n_objects: Callable[[], int], start: str
) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context(start)) as pool:
        # Something of the worker's keeps it.
        pool.submit(exec, "import sys; sys.kept = p", {"p": own(store, DATA)}).result()
        assert n_objects() > 0
    assert n_objects() == 0


# --- Owners and media that die --------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, 17))
def test_an_owner_killed_at_any_step_leaves_what_others_have(
    store: Store[Any], start_peer: Callable[[], Any], step: int
) -> None:
    owner, reader = start_peer(), start_peer()
    owner.run("s = Store.from_url(url)", url=store.url)
    owner.run("p = own(s, [1], borrow_lease=0.4); r = borrow(p)")
    reader.run("r = pickle.loads(data); len(r)", data=owner.run("result = pickle.dumps(r)"))
    owner.run("del r; die_at(s, step)", step=step)
    sent = []
    with pytest.raises((EOFError, BrokenPipeError)):
        for _ in range(5):
            sent.append(owner.run("q = clone(p); result = pickle.dumps(q)"))
            owner.run("m = mut_borrow(q); m.append(2); update(m); del m; drop(q)")
    # What it read stays as it was, whatever became of the object.
    assert reader.run("result = list(r)") == [1]
    for data in sent:
        # The bytes were taken back by their sender, unless it was killed before that.
        with suppress(ReferenceInvalidError):
            assert pickle.loads(data) == [1]


@pytest.mark.slow
def test_a_medium_that_hangs_ends_no_lease_in_another(
    store: Store[Any],
    start_redis: Callable[[], Any],
    is_stored: Callable[[Any], bool],
    pass_time: Callable[[float], None],
) -> None:
    connectors = pytest.importorskip("proxystore_connectors_redis")
    server = start_redis()
    with Store("hangs", connectors.RedisConnector("127.0.0.1", server.port, timeout=4)) as hung:
        beside = own(hung, DATA, lease=0.3)
        owned, shared = own(store, DATA, lease=0.6), share(store, DATA, lease=0.6)
        with server.stopped():
            pass_time(1.5)
            assert [True, True] == [is_stored(proxy) for proxy in (owned, shared)]
        del beside


@pytest.mark.slow
def test_a_medium_that_died_is_named_at_a_use_and_stops_nobody(
    start_redis: Callable[[], Any], start_peer: Callable[[], Any]
) -> None:
    from proxystore_connectors_redis import RedisConnector

    server, peer = start_redis(), start_peer()
    store = Store("gone", RedisConnector("127.0.0.1", server.port))
    proxy, unresolved = own(store, DATA, lease=0.3), own(store, DATA, populate_target=False)
    peer.run("p = pickle.loads(data)", data=pickle.dumps(own(store, DATA)))
    shared = share(store, DATA, lease=0.3)
    server.kill()
    assert sum(proxy) == sum(DATA)
    with pytest.raises(ProxyResolveError, match=f"127.0.0.1:{server.port}"):
        len(unresolved)
    with pytest.raises(ProxyResolveError, match=f"127.0.0.1:{server.port}"):
        peer.run("len(p)")
    with pytest.raises(ConnectorUnavailableError):
        drop(proxy)
    del proxy, unresolved, shared
    peer.leave()
    assert peer.process.returncode == 0
    with pytest.raises(ConnectorUnavailableError):
        store.close()
