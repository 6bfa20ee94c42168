"""`LRUCache`: bounded in objects and bytes, whatever happens to it."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.store.cache import LRUCache


class Referable:
    """An object that can be referenced weakly."""


def test_what_was_used_longest_ago_makes_room() -> None:
    cache = LRUCache(2)
    cache.set("a", 1)
    cache.set("b", 2)
    assert cache.get("a") == 1
    cache.set("c", 3)
    assert [cache.exists(key) for key in "abc"] == [True, False, True]


def test_objects_over_the_bound_in_bytes_make_room() -> None:
    cache = LRUCache(10, max_nbytes=100)
    cache.set("a", "A", 60)
    cache.set("b", "B", 60)
    assert (cache.get("a"), cache.get("b"), cache.nbytes) == (None, "B", 60)


def test_an_object_larger_than_the_cache_drops_nothing_else() -> None:
    cache = LRUCache(10, max_nbytes=100)
    cache.set("small", 1, 50)
    cache.set("large", 2, 101)
    assert (cache.exists("small"), cache.exists("large")) == (True, False)


def test_an_object_set_again_replaces_the_older_and_its_cost() -> None:
    cache = LRUCache(10, max_nbytes=100)
    cache.set("a", 1, 80)
    cache.set("a", 2, 30)
    assert (cache.get("a"), len(cache), cache.nbytes) == (2, 1, 30)


def test_a_cache_of_size_zero_keeps_nothing() -> None:
    cache = LRUCache(0)
    cache.set("a", 1)
    assert cache.get("a", "default") == "default"


@pytest.mark.parametrize("bounds", [(-1, 0), (0, -1)])
def test_negative_bounds_are_refused(bounds: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="-1"):
        LRUCache(*bounds)


def test_an_object_of_another_tag_is_not_found() -> None:
    cache = LRUCache()
    cache.set("a", 1, tag="first")
    assert cache.get("a", tag="first") == 1
    assert cache.get("a", tag="second") is None


def test_a_cached_none_is_found() -> None:
    cache = LRUCache()
    cache.set("a", None)
    assert cache.get("a", "default") is None


def test_gets_are_counted_and_peeks_are_not() -> None:
    cache = LRUCache()
    cache.set("a", 1)
    cache.get("a")
    cache.get("b")
    cache.peek("a")
    assert (cache.hits, cache.misses) == (1, 1)


def test_a_weak_object_is_kept_while_somebody_uses_it() -> None:
    cache = LRUCache(max_nbytes=100)
    obj = Referable()
    cache.set("a", obj, 10**9, weak=True)
    assert (cache.get("a") is obj, cache.nbytes) == (True, 0)
    del obj
    gc.collect()
    assert (cache.get("a"), cache.exists("a")) == (None, False)


def test_what_cannot_be_referenced_weakly_is_not_kept() -> None:
    cache = LRUCache(4, 100)
    cache.set("a", [1], 60)
    cache.set("a", [2], 60, weak=True)
    assert not cache.exists("a")
    assert cache.nbytes == 0


def test_evicting_an_absent_key_does_nothing() -> None:
    LRUCache().evict("absent")


def test_a_destructor_may_use_the_cache_that_drops_it() -> None:
    cache = LRUCache(1)

    class Meddler:
        def __del__(self) -> None:
            cache.evict("b")

    cache.set("a", Meddler())
    cache.set("b", 2)
    gc.collect()
    assert len(cache) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_while_the_cache_is_locked_can_use_it() -> None:
    cache = LRUCache()
    cache.set("a", 1, 10)
    with cache._lock:
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            os._exit(0 if cache.get("a") == 1 and cache.nbytes == 10 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@given(
    maxsize=st.integers(0, 4),
    max_nbytes=st.integers(0, 40),
    steps=st.lists(
        st.tuples(st.sampled_from(["set", "get", "evict"]), st.integers(0, 6), st.integers(0, 50))
    ),
)
def test_the_cache_is_an_lru_within_both_bounds(
    maxsize: int, max_nbytes: int, steps: list[tuple[str, int, int]]
) -> None:
    cache = LRUCache(maxsize, max_nbytes)
    model: OrderedDict[int, int] = OrderedDict()
    for step, key, nbytes in steps:
        if step == "set":
            cache.set(key, nbytes, nbytes)
            model.pop(key, None)
            if nbytes <= max_nbytes:
                model[key] = nbytes
            while len(model) > maxsize or sum(model.values()) > max_nbytes:
                model.popitem(last=False)
        elif step == "get":
            assert cache.get(key) == model.get(key)
            if key in model:
                model.move_to_end(key)
        else:
            cache.evict(key)
            model.pop(key, None)
        assert (len(cache), cache.nbytes) == (len(model), sum(model.values()))


def test_a_finalizer_may_use_the_cache_that_is_at_work() -> None:
    cache = LRUCache()

    class Interrupting:
        """A key during whose look-up other code runs, as a garbage collection can."""

        def __hash__(self) -> int:
            cache.evict("another")
            return 1

    thread = threading.Thread(target=cache.set, args=(Interrupting(), "value"), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


# --- A cache of several stores ----------------------------------------------------


def test_shares_of_a_cache_do_not_meet() -> None:
    cache = LRUCache()
    one, two = cache.share(), cache.share()
    one.set("a", 1)
    two.set("a", 2)
    cache.set("a", 3)
    assert (one.get("a"), two.get("a"), cache.get("a")) == (1, 2, 3)


def test_the_bounds_hold_for_all_shares_together() -> None:
    cache = LRUCache(3, max_nbytes=100)
    one, two = cache.share(), cache.share()
    one.set("a", "A", 60)
    two.set("a", "B", 60)
    assert (one.exists("a"), two.get("a"), cache.nbytes) == (False, "B", 60)


def test_a_share_that_is_cleared_leaves_the_others_theirs() -> None:
    cache = LRUCache()
    one, two = cache.share(), cache.share()
    one.set("a", 1, 10)
    two.set("a", 2, 20)
    one.clear()
    assert (len(one), two.get("a"), cache.nbytes) == (0, 2, 20)


def test_a_share_that_nobody_has_any_more_leaves_nothing_behind() -> None:
    cache = LRUCache()
    share = cache.share()
    share.set("a", Referable(), 10)
    del share
    gc.collect()
    assert (len(cache), cache.nbytes) == (0, 0)


def test_a_share_counts_for_itself_and_for_the_whole() -> None:
    cache = LRUCache(2)
    one, two = cache.share(), cache.share()
    one.set("a", 1, 10)
    two.set("b", 2, 20)
    one.get("a")
    one.get("b")
    assert two.lacks("a")
    two.set("c", 3, 30)
    assert (one.hits, one.misses, one.nbytes, len(one)) == (1, 1, 10, 1)
    assert (two.hits, two.misses, two.nbytes, len(two)) == (0, 1, 30, 1)
    assert (cache.hits, cache.misses, cache.nbytes, cache.evictions) == (1, 2, 40, 1)


def test_what_makes_room_is_counted_and_what_is_removed_is_not() -> None:
    cache = LRUCache(1)
    cache.set("a", 1)
    cache.set("a", 2)
    cache.evict("a")
    cache.set("b", 3)
    cache.set("c", 4)
    assert cache.evictions == 1


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["set", "get", "evict", "clear"]),
            st.integers(0, 2),
            st.integers(0, 3),
            st.integers(0, 30),
        )
    )
)
def test_shares_are_an_lru_together(steps: list[tuple[str, int, int, int]]) -> None:
    cache = LRUCache(4, 60)
    shares = [cache.share() for _ in range(3)]
    model: OrderedDict[tuple[int, int], int] = OrderedDict()
    for step, owner, key, nbytes in steps:
        share, place = shares[owner], (owner, key)
        if step == "set":
            share.set(key, nbytes, nbytes)
            model.pop(place, None)
            model[place] = nbytes
            while len(model) > 4 or sum(model.values()) > 60:
                model.popitem(last=False)
        elif step == "get":
            assert share.get(key) == model.get(place)
            if place in model:
                model.move_to_end(place)
        elif step == "evict":
            share.evict(key)
            model.pop(place, None)
        else:
            share.clear()
            model = OrderedDict((at, each) for at, each in model.items() if at[0] != owner)
        assert (len(cache), cache.nbytes) == (len(model), sum(model.values()))
        own = [each for at, each in model.items() if at[0] == owner]
        assert (len(share), share.nbytes) == (len(own), sum(own))
