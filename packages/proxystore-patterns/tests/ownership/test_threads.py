"""Owners and borrows under threads, garbage collections and forks at once."""

from __future__ import annotations

import gc
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from proxystore.connectors.local import LocalConnector
from proxystore.store import Store
from proxystore_patterns.errors import BaseRefProxyError
from proxystore_patterns.ownership import borrow, clone, drop, mut_borrow, own, share, update

TIMEOUT_S = 60


@contextmanager
def _beside(*works: Callable[[], object]) -> Iterator[None]:
    """Other threads that go on with ``works``, each again and again."""
    over, errors = threading.Event(), list[BaseException]()

    def go_on(work: Callable[[], object]) -> None:
        try:
            while not over.is_set():
                work()
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=go_on, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(TIMEOUT_S)
    assert not any(thread.is_alive() for thread in threads)
    assert [] == errors


class _Circle:
    """Goes by a garbage collection, in whatever thread that comes."""

    def __init__(self, *proxies: Any) -> None:
        self.proxies, self.myself = proxies, self


def _live(store: Store[Any]) -> None:
    owner, others = own(store, [1], lease=60), [own(store, [n]) for n in range(2)]
    assert borrow(owner) == [1]
    writer = mut_borrow(owner)
    writer.append(2)
    update(writer)
    del writer
    moved = pickle.loads(pickle.dumps(owner))
    assert moved == [1, 2]
    _Circle(others[0], borrow(others[0]), pickle.loads(pickle.dumps(borrow(moved))))
    _Circle(moved, clone(moved), mut_borrow(others[1]), share(store, [3]))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_children_forked_in_the_midst_of_anything_can_own_and_read(store: Store[Any]) -> None:
    kept, url = own(store, [1, 2]), store.url
    with _beside(*[lambda: _live(store)] * 3, lambda: gc.collect()):
        for _ in range(20):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    # The thread of a timer, so that what hangs ends.
                    threading.Timer(TIMEOUT_S / 2, lambda: os._exit(2)).start()
                    assert kept == [1, 2]
                    with Store.from_url(url) as own_store:
                        _live(own_store)
                    gc.collect()
                    code = 0
                finally:
                    os._exit(code)
            assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert kept == [1, 2]


def test_threads_that_use_one_owner_get_the_object_or_are_told() -> None:
    with Store("here", LocalConnector()) as store:
        owner, end = own(store, [0]), time.monotonic() + 0.2

        def read() -> None:
            with suppress(BaseRefProxyError):
                assert borrow(owner)[0] >= 0

        def write() -> None:
            with suppress(BaseRefProxyError):
                writer = mut_borrow(owner)
                writer[0] += 1
                update(writer)
                _Circle(writer)

        def move() -> None:
            with suppress(BaseRefProxyError):
                pickle.dumps(owner)
                assert owner[0] >= 0

        with _beside(read, write, move, lambda: gc.collect(0)):
            while time.monotonic() < end:
                with suppress(BaseRefProxyError):
                    assert len(owner) == 1
        gc.collect()
        assert owner[0] >= 0
        drop(owner)


def test_one_of_many_threads_drops() -> None:
    with Store("here", LocalConnector()) as store:
        for _ in range(50):
            owner, start = own(store, [0]), threading.Barrier(4)
            outcomes: list[str] = []

            def end(owner: Any = owner, start: Any = start, outcomes: Any = outcomes) -> None:
                start.wait(TIMEOUT_S)
                try:
                    drop(owner)
                    outcomes.append("dropped")
                except BaseRefProxyError as error:
                    outcomes.append(type(error).__name__)

            threads = [threading.Thread(target=end) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(TIMEOUT_S)
            assert ["ReferenceInvalidError"] * 3 + ["dropped"] == sorted(outcomes)
