"""What goes by store, and what it is reckoned to take."""

import time

import numpy as np
import pytest

from proxystore_patterns.executors import (
    ProxyAlways,
    ProxySize,
    ProxyType,
    approximate_nbytes,
    proxied,
)


def nested(*, levels, width=1):
    value = [0]
    for _ in range(levels):
        value = [value] * width
    return value


def in_itself():
    items = [np.ones(1000)]
    items.append({"again": (items,)})
    return items


def test_containers_that_contain_themselves_have_a_size():
    assert 8000 < approximate_nbytes(in_itself()) < 10_000
    assert not ProxySize(10_000)(in_itself())
    assert ProxySize(8000)(in_itself())


@pytest.mark.parametrize(("levels", "width"), [(100_000, 1), (60, 3), (3, 300)])
def test_deep_and_wide_containers_take_no_longer_than_others(levels, width):
    value = nested(levels=levels, width=width)
    start = time.perf_counter()
    assert approximate_nbytes(value) > 0
    assert time.perf_counter() - start < 0.25


@pytest.mark.parametrize("size", ["x", 1.5, -1])
def test_a_size_is_a_number_of_bytes(size):
    with pytest.raises((TypeError, ValueError), match="ProxySize takes a whole number"):
        ProxySize(size)


def test_a_decorator_is_refused_what_it_cannot_work_with(counted):
    for args in [(None, ProxyAlways()), (counted[0], 100_000)]:
        with pytest.raises(TypeError, match=r"proxied.* takes a"):
            proxied(*args)


def test_long_containers_are_judged_by_their_first_items():
    assert approximate_nbytes([np.ones(1000)] * 5000) == pytest.approx(40_000_000, rel=0.01)
    assert approximate_nbytes([[b"x" * 100] * 300] * 300) == pytest.approx(9_000_000, rel=0.1)


@pytest.mark.parametrize("policy", [ProxySize(10**6), ProxyType(np.ndarray), ProxyAlways()])
@pytest.mark.parametrize("depth", [0, 1, 3, 500])
def test_what_contains_itself_is_given_to_tasks(processes, over, counted, policy, depth):
    executor = over(processes, policy, depth=depth)
    assert executor.submit(len, in_itself()).result() == 2
    assert counted[1]() == 0
