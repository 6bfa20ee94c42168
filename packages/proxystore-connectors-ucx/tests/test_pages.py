"""Memory that objects are received in is used again, and never while somebody has a view of it."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxystore_connectors_ucx import UCXConnector
from proxystore_connectors_ucx._pages import Pages

MB = 1 << 20


def test_memory_that_nobody_views_is_taken_again() -> None:
    pages = Pages(16 * MB)
    first = pages.take(4 * MB)
    first[:4] = b"mark"
    del first
    assert pages.nbytes == 4 * MB
    again = pages.take(3 * MB)
    assert bytes(again[:4]) == b"mark"
    assert len(again) == 3 * MB
    assert pages.nbytes == 0


def test_memory_is_not_taken_while_a_part_of_it_is_viewed() -> None:
    pages = Pages(16 * MB)
    whole = pages.take(4 * MB)
    part = memoryview(whole[5:10]).cast("c")
    del whole
    assert pages.nbytes == 0
    pages.take(4 * MB)[:] = b"x" * (4 * MB)
    assert bytes(part) == bytes(5)


def test_memory_in_a_cycle_comes_back_when_it_is_collected() -> None:
    pages = Pages(16 * MB)
    cycle: list[object] = [pages.take(4 * MB)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert pages.nbytes == 4 * MB


@pytest.mark.parametrize(("given_back", "kept"), [([4, 4, 4], 8), ([4, 8], 8), ([9], 0), ([], 0)])
def test_no_more_is_kept_than_was_said(given_back: list[int], kept: int) -> None:
    pages = Pages(8 * MB)
    views = [pages.take(each * MB) for each in given_back]
    while views:
        del views[0]
    assert pages.nbytes == kept * MB
    pages.trim(5 * MB)
    assert pages.nbytes <= 5 * MB
    pages.release()
    pages.take(4 * MB)
    assert pages.nbytes == 0


def test_much_larger_memory_is_left_for_larger_objects() -> None:
    pages = Pages(64 * MB)
    pages.take(32 * MB)
    small = pages.take(4 * MB)
    assert pages.nbytes == 32 * MB
    del small


@given(sizes=st.lists(st.integers(0, 12), min_size=1, max_size=30), seed=st.randoms())
@settings(deadline=None, max_examples=40)
def test_views_never_share_memory(sizes: list[int], seed: object) -> None:
    pages, views = Pages(24 * MB), []
    for number, size in enumerate(sizes):
        view = pages.take(size * MB // 2 + number + 1)
        view[:1] = view[-1:] = bytes([number])
        views.append((number, view))
        if len(views) > 4:
            del views[number % 3]
    for number, view in views:
        assert {*view[:1], *view[-1:]} == {number}


def test_threads_never_get_the_same_memory() -> None:
    pages = Pages(64 * MB)

    def use(number: int) -> bool:
        for _ in range(40):
            view = pages.take(2 * MB + number)
            mark = bytes([number]) * 64
            view[:64] = mark
            ok = bytes(view[:64]) == mark
            del view
            if not ok:
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(8)))


def test_an_object_that_is_viewed_stays_as_it_is_while_others_come_and_go(
    connector: UCXConnector,
) -> None:
    payload = os.urandom(3 * MB)
    key = connector.put(payload)
    view = memoryview(connector.get(key) or b"")[MB : 2 * MB]
    connector.evict(key)
    for number in range(6):
        other = connector.put(bytes([number]) * (3 * MB))
        assert bytes(connector.get(other) or b"") == bytes([number]) * (3 * MB)
        connector.evict(other)
    assert view == payload[MB : 2 * MB]


@pytest.mark.slow
def test_kept_memory_counts_within_max_nbytes(
    opened: Callable[..., UCXConnector], store_pid: Callable[[UCXConnector], int]
) -> None:
    made = opened(UCXConnector(max_nbytes=64 * MB))
    # UCX is loaded, which takes memory too.
    made.evict(made.put(bytes(4 * MB)))
    before = private_nbytes(store_pid(made))
    made.evict(made.put(b"x" * (60 * MB)))
    made.put_batch([b"x" * (MB // 2)] * 100)
    assert private_nbytes(store_pid(made)) - before < 80 * MB


def private_nbytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) << 10
