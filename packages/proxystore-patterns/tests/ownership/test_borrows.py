"""Many readers or one writer, in this process and across processes."""

from __future__ import annotations

import gc
import os
import pickle
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

from proxystore.proxy import extract, get_factory, is_resolved
from proxystore.store import Store
from proxystore_patterns.errors import (
    MutableBorrowError,
    ReferenceInvalidError,
    ReferenceMovedError,
    ReferenceNotOwnedError,
    StillBorrowedError,
)
from proxystore_patterns.futures import future
from proxystore_patterns.ownership import (
    RefMutProxy,
    RefProxy,
    borrow,
    clone,
    drop,
    into_owned,
    mark_refs_out_of_scope,
    mut_borrow,
    own,
    share,
    submit,
    update,
)

SHORT = 0.4
LONGER = 1.0

Eventually = Callable[[Callable[[], object]], None]


# --- In one process -------------------------------------------------------------


def test_many_may_read(store: Store[Any]) -> None:
    proxy = own(store, [1])
    readers = [borrow(proxy), borrow(proxy, populate_target=False), borrow(borrow(proxy))]
    assert [list(reader) for reader in readers] == [[1]] * 3
    assert all(isinstance(reader, RefProxy) for reader in readers)
    assert proxy == [1]


def test_a_reader_has_the_target_of_the_owner(store: Store[Any]) -> None:
    proxy = own(store, [1])
    assert extract(borrow(proxy)) is extract(proxy)


def test_nobody_writes_beside_readers(store: Store[Any]) -> None:
    proxy = own(store, [1])
    reader = borrow(proxy)
    with pytest.raises(MutableBorrowError, match="1 RefProxy of it in this process"):
        mut_borrow(proxy)
    with pytest.raises(MutableBorrowError):
        update(proxy)
    for refused in (drop, pickle.dumps):
        with pytest.raises(StillBorrowedError):
            refused(proxy)
    del reader
    mut_borrow(proxy)


def test_nobody_else_uses_what_somebody_writes(store: Store[Any]) -> None:
    proxy = own(store, [1])
    writer = mut_borrow(proxy)
    assert isinstance(writer, RefMutProxy)
    for refused in (len, borrow, mut_borrow, update):
        with pytest.raises(MutableBorrowError, match="a RefMutProxy of it in this process"):
            refused(proxy)
    for refused in (drop, pickle.dumps):
        with pytest.raises(StillBorrowedError):
            refused(proxy)
    writer.append(2)
    del writer
    assert proxy == [1, 2]


def test_an_update_reaches_those_who_borrow_next(store: Store[Any], peer: Any) -> None:
    proxy = own(store, [1])
    writer = mut_borrow(proxy)
    writer += [2]
    update(writer)
    del writer
    reader = borrow(proxy)
    assert peer.run("r = pickle.loads(data); result = list(r)", data=pickle.dumps(reader)) == [1, 2]


def test_an_update_of_a_number_reaches_the_owner(store: Store[Any]) -> None:
    proxy = own(store, 1)
    writer = mut_borrow(proxy)
    writer += 41
    update(writer)
    del writer
    assert proxy == 42


def test_a_borrow_of_a_borrow_counts_by_itself(store: Store[Any]) -> None:
    proxy = own(store, [1])
    first = borrow(proxy)
    second = borrow(first)
    drop(first)
    with pytest.raises(MutableBorrowError):
        mut_borrow(proxy)
    assert second == [1]
    del second
    mut_borrow(proxy)


def test_dropping_a_borrow_here_ends_none_elsewhere(store: Store[Any], peer: Any) -> None:
    proxy = own(store, [1])
    for kind in (borrow, mut_borrow):
        ref = kind(proxy)
        peer.run("x = pickle.loads(data)", data=pickle.dumps(ref))
        drop(ref)
        with pytest.raises(MutableBorrowError, match=f"process {peer.process.pid} "):
            mut_borrow(proxy)
        peer.run("del x")
    assert proxy == [1]


def test_an_object_outlives_its_owner_while_it_is_borrowed_here(
    store: Store[Any], n_objects: Callable[[], int]
) -> None:
    reader = borrow(own(store, [1]), populate_target=False)
    assert reader == [1]
    assert n_objects() == 1
    del reader
    assert n_objects() == 0


def test_a_clone_is_an_object_of_its_own(store: Store[Any]) -> None:
    proxy = own(store, [1])
    for source in (proxy, borrow(proxy)):
        copy = clone(source)
        copy.append(2)
        assert (copy, proxy) == ([1, 2], [1])


def test_a_plain_proxy_gets_an_owner(store: Store[Any], n_objects: Callable[[], int]) -> None:
    plain = store.proxy([1], evict=True)
    proxy = into_owned(plain)
    assert extract(proxy) is extract(plain)
    with pytest.raises(ValueError, match="clone"):
        into_owned(proxy)
    del proxy
    assert n_objects() == 0


def test_each_function_names_what_it_takes(store: Store[Any]) -> None:
    proxy = own(store, [1])
    reader, plain = borrow(proxy), store.proxy([1])
    for function, refused in [
        (borrow, plain), (mut_borrow, plain), (mut_borrow, reader), (update, reader),
        (drop, plain), (clone, plain), (mark_refs_out_of_scope, proxy),
    ]:  # fmt: skip
        with pytest.raises(ReferenceNotOwnedError, match=type(refused).__name__):
            function(refused)


# --- Across processes -----------------------------------------------------------


def test_a_borrow_that_is_open_elsewhere_counts_until_it_is_returned(
    store: Store[Any], peer: Any
) -> None:
    proxy = own(store, [1])
    peer.run("r = pickle.loads(data)", data=pickle.dumps(borrow(proxy)))
    reads = f"process {peer.process.pid} on host .* reads it"
    with pytest.raises(MutableBorrowError, match=reads):
        mut_borrow(proxy)
    for refused in (drop, pickle.dumps):
        with pytest.raises(StillBorrowedError, match=reads):
            refused(proxy)
    assert peer.run("result = list(r)") == [1]
    peer.run("del r")
    mut_borrow(proxy)


def test_a_borrow_is_opened_by_many(store: Store[Any], start_peer: Callable[[], Any]) -> None:
    proxy, peers = own(store, [1]), [start_peer() for _ in range(3)]
    data = pickle.dumps(borrow(proxy))
    for peer in peers:
        assert peer.run("r = pickle.loads(data); result = list(r)", data=data) == [1]
    for peer in peers:
        with pytest.raises(MutableBorrowError, match="reads it"):
            mut_borrow(proxy)
        peer.run("del r")
    mut_borrow(proxy)


def test_a_borrow_may_be_passed_on(store: Store[Any], start_peer: Callable[[], Any]) -> None:
    proxy, first, second = own(store, [1]), start_peer(), start_peer()
    data = first.run(
        "r = pickle.loads(data); result = pickle.dumps(borrow(r))", data=pickle.dumps(borrow(proxy))
    )
    assert second.run("r = pickle.loads(data); result = list(r)", data=data) == [1]
    first.run("del r")
    with pytest.raises(MutableBorrowError, match=f"process {second.process.pid} "):
        mut_borrow(proxy)
    second.run("del r")
    mut_borrow(proxy)


def test_a_borrow_that_is_opened_too_late_says_so(store: Store[Any], peer: Any) -> None:
    proxy = own(store, [1])
    data = pickle.dumps(borrow(proxy))
    writer = mut_borrow(proxy)
    peer.run("r = pickle.loads(data)", data=data)
    with pytest.raises(ReferenceInvalidError, match="was over before its pickle was opened"):
        peer.run("len(r)")
    assert writer == [1]


def test_pickling_a_borrow_changes_nothing_here(store: Store[Any]) -> None:
    proxy = own(store, [1])
    reader = borrow(proxy)
    pickle.dumps(reader)
    assert is_resolved(reader)
    with pytest.raises(MutableBorrowError):
        mut_borrow(proxy)
    del reader
    mut_borrow(proxy)


def test_a_mutable_borrow_moves_to_who_opens_it_and_comes_back(
    store: Store[Any], peer: Any
) -> None:
    proxy = own(store, [1])
    writer = mut_borrow(proxy)
    peer.run("m = pickle.loads(data)", data=pickle.dumps(writer))
    with pytest.raises(ReferenceMovedError, match=f"process {peer.process.pid} "):
        len(writer)
    del writer
    gc.collect()
    with pytest.raises(MutableBorrowError, match=f"process {peer.process.pid} .* writes it"):
        len(proxy)
    peer.run("m.append(2); update(m)")
    peer.run("del m")
    assert proxy == [1, 2]


def test_the_bytes_of_a_mutable_borrow_make_one_writer(
    store: Store[Any], start_peer: Callable[[], Any]
) -> None:
    proxy, first, second = own(store, [1]), start_peer(), start_peer()
    writer = mut_borrow(proxy)
    data = pickle.dumps(writer)
    first.run("m = pickle.loads(data)", data=data)
    second.run("m = pickle.loads(data)", data=data)
    with pytest.raises(ReferenceMovedError):
        second.run("update(m)")
    # Nor after the first one returned it.
    first.run("m.append(2); update(m); del m")
    second.run("m = pickle.loads(data)", data=data)
    with pytest.raises(ReferenceMovedError):
        second.run("len(m)")
    del writer
    assert proxy == [1, 2]


def test_a_mutable_borrow_that_nobody_opened_is_over_with_its_proxy(
    store: Store[Any], peer: Any
) -> None:
    proxy = own(store, [1])
    data = pickle.dumps(mut_borrow(proxy))
    assert proxy == [1]
    peer.run("m = pickle.loads(data)", data=data)
    with pytest.raises(ReferenceMovedError, match=f"process {os.getpid()} "):
        peer.run("len(m)")


def test_a_mutable_borrow_may_be_passed_on(
    store: Store[Any], start_peer: Callable[[], Any]
) -> None:
    proxy, first, second = own(store, [1]), start_peer(), start_peer()
    data = pickle.dumps(mut_borrow(proxy))
    data = first.run("m = pickle.loads(data); result = pickle.dumps(m)", data=data)
    second.run("m = pickle.loads(data); m.append(2); update(m)", data=data)
    first.run("del m")
    with pytest.raises(MutableBorrowError, match=f"process {second.process.pid} "):
        len(proxy)
    second.run("del m")
    assert proxy == [1, 2]


# --- Deaths ---------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_reader_returns_the_borrow_with_its_lease(
    store: Store[Any], peer: Any, pass_time: Callable[[float], None], eventually: Eventually
) -> None:
    proxy = own(store, [1], borrow_lease=LONGER)
    peer.run("r = pickle.loads(data)", data=pickle.dumps(borrow(proxy)))
    pass_time(1.5 * LONGER)
    # It was renewed.
    with pytest.raises(MutableBorrowError):
        mut_borrow(proxy)
    peer.kill()
    eventually(lambda: mut_borrow(proxy))


@pytest.mark.slow
def test_a_killed_writer_returns_the_borrow_with_its_lease(
    store: Store[Any], peer: Any, eventually: Eventually
) -> None:
    proxy = own(store, [1], borrow_lease=LONGER)
    peer.run("m = pickle.loads(data); m.append(2)", data=pickle.dumps(mut_borrow(proxy)))
    with pytest.raises(MutableBorrowError):
        len(proxy)
    peer.kill()
    # What was not updated is not there.
    eventually(lambda: proxy == [1])


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, 6))
@pytest.mark.parametrize("kind", [borrow, mut_borrow])
def test_a_borrower_killed_at_any_step_returns_the_borrow(
    store: Store[Any],
    peer: Any,
    eventually: Eventually,
    kind: Callable[[Any], Any],
    step: int,
) -> None:
    proxy = own(store, [1], borrow_lease=SHORT)
    data = pickle.dumps(kind(proxy))
    peer.run("s = Store.from_url(url)", url=store.url)
    peer.run("die_at(s, step)", step=step)
    with pytest.raises((EOFError, BrokenPipeError)):
        peer.run("x = pickle.loads(data); len(x); del x", data=data)
        peer.run("s.exists(s.new_key()); s.exists(s.new_key())")
    eventually(lambda: mut_borrow(proxy))
    assert proxy == [1]


@pytest.mark.slow
def test_a_writer_that_stood_still_too_long_cannot_update(
    store: Store[Any], peer: Any, eventually: Eventually
) -> None:
    proxy = own(store, [1], borrow_lease=SHORT)
    peer.run("m = pickle.loads(data); m.append(2)", data=pickle.dumps(mut_borrow(proxy)))
    peer.process.send_signal(signal.SIGSTOP)
    peer.stopped = True
    eventually(lambda: proxy == [1])
    peer.process.send_signal(signal.SIGCONT)
    with pytest.raises(ReferenceInvalidError, match=r"its lease of 0\.4 s ended"):
        peer.run("update(m)")
    assert proxy == [1]


@pytest.mark.slow
def test_the_borrow_of_a_killed_owner_is_still_read(store: Store[Any], start_peer: Any) -> None:
    owner, reader = start_peer(), start_peer()
    data = owner.run(
        "p = own(Store.from_url(url), [1]); r = borrow(p); result = pickle.dumps(r)", url=store.url
    )
    reader.run("r = pickle.loads(data)", data=data)
    owner.kill()
    assert reader.run("result = list(r)") == [1]


@pytest.mark.slow
def test_an_owner_that_ends_leaves_the_object_to_its_borrowers_for_a_lease(
    store: Store[Any], peer: Any, eventually: Eventually
) -> None:
    proxy = own(store, [1], borrow_lease=LONGER)
    factory = get_factory(proxy)
    key = factory.estate.key
    peer.run("r = pickle.loads(data)", data=pickle.dumps(borrow(proxy)))
    del factory, proxy
    assert peer.run("result = list(r)") == [1]
    eventually(lambda: not store.exists(key))


# --- Tasks ----------------------------------------------------------------------


@pytest.mark.slow
def test_borrows_end_with_the_task_they_were_given_to(store: Store[Any]) -> None:
    proxy = own(store, [1, 2])
    with ProcessPoolExecutor(1) as pool:
        reader = borrow(proxy)
        future = submit(pool.submit, args=(sum, reader))
        assert future.result() == 3
        # At once, though the future calls back a moment later.
        mut_borrow(proxy)
        with pytest.raises(ReferenceInvalidError, match="the borrow has ended"):
            len(reader)


@pytest.mark.slow
def test_borrows_end_with_a_task_whose_process_died(store: Store[Any]) -> None:
    proxy = own(store, 3)
    with ProcessPoolExecutor(1) as pool:
        future = submit(pool.submit, args=(os._exit, borrow(proxy)))
        with pytest.raises(BrokenProcessPool):
            future.result()
    # Not after its lease of 30 s.
    mut_borrow(proxy)


@pytest.mark.slow
def test_a_mutable_borrow_ends_with_a_task_whose_process_died(store: Store[Any]) -> None:
    proxy = own(store, 3)
    with ProcessPoolExecutor(1) as pool:
        future = submit(pool.submit, args=(os._exit, mut_borrow(proxy)))
        with pytest.raises(BrokenProcessPool):
            future.result()
    assert proxy == 3


def test_borrows_inside_of_arguments_end_too(store: Store[Any]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    proxy = own(store, [1])
    refs = [borrow(proxy) for _ in range(4)]
    with ThreadPoolExecutor(1) as pool:
        future = submit(
            pool.submit,
            args=(lambda *_, **__: None, refs[0], [refs[1]]),
            kwargs={"more": {"inside": (refs[2],)}},
            register_custom_refs=[refs[3]],
        )
        future.result()
        pool.shutdown()
    for ref in refs:
        with pytest.raises(ReferenceInvalidError):
            len(ref)


def test_a_borrow_ends_before_its_future_calls_back(store: Store[Any]) -> None:
    class Slow:
        """Is done, and has not called back yet."""

        def add_done_callback(self, function: Any) -> None:
            self.callback = function

        def done(self) -> bool:
            return True

    proxy = own(store, [1])
    for kind in (borrow, mut_borrow):
        future = submit(lambda _: Slow(), args=(kind(proxy),))
        del_later = mut_borrow(proxy)
        future.callback(future)
        # Nor does the call end another borrow.
        assert del_later == [1]
        del del_later


def test_a_task_that_is_over_keeps_no_owner(
    store: Store[Any], n_objects: Callable[[], int]
) -> None:
    proxy = own(store, [1, 2, 3])
    task: Future[None] = Future()
    submit(lambda _: task, args=(borrow(proxy),))
    task.set_result(None)

    gc.disable()
    try:
        del proxy
        assert n_objects() == 0
    finally:
        gc.enable()


def test_a_task_that_was_refused_leaves_its_borrows(store: Store[Any]) -> None:
    proxy = own(store, [1])
    reader = borrow(proxy)

    def refuse(*_: Any) -> Any:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        submit(refuse, args=(reader,))
    assert reader == [1]


def test_a_task_that_goes_on_after_its_end_changes_nothing(store: Store[Any], peer: Any) -> None:
    proxy = own(store, [1])
    writer = mut_borrow(proxy)
    peer.run("m = pickle.loads(data); m.append(2)", data=pickle.dumps(writer))
    mark_refs_out_of_scope(writer)
    assert proxy == [1]
    with pytest.raises(ReferenceInvalidError, match="lease"):
        peer.run("update(m)")
    assert proxy == [1]


def test_a_proxy_of_a_result_to_come_is_given_to_a_task_unresolved(store: Store[Any]) -> None:
    coming = future(store)
    with ThreadPoolExecutor(1) as pool:
        total = submit(pool.submit, args=(sum, coming.proxy(timeout=60)))
        coming.set_result([1, 2, 3])
        assert total.result(60) == 6


def test_a_proxy_of_a_result_to_come_cannot_be_borrowed(store: Store[Any]) -> None:
    proxy = future(store).proxy(timeout=60)
    with pytest.raises(ReferenceNotOwnedError):
        borrow(proxy)
    assert not is_resolved(proxy)


def test_a_lease_without_end_stops_no_other(
    store: Store[Any], is_stored: Callable[[Any], bool], pass_time: Callable[[float], None]
) -> None:
    endless = share(store, "endless", lease=1e12)
    short = own(store, "short", lease=1)
    pass_time(2.5)
    assert is_stored(short)
    assert endless == "endless"
