"""Durations and keys that make no sense are refused where they are given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.errors import InvalidKeyError
from proxystore.store import Store
from proxystore_patterns._options import checked_seconds
from proxystore_patterns.futures import future
from proxystore_patterns.lifetimes import (
    ContextLifetime,
    JobLifetime,
    LeaseLifetime,
    TaskLifetime,
    find_leaks,
)
from proxystore_patterns.ownership import clone, into_owned, own, share

NAN = float("nan")


def _produce(store: Store[Any], lease: Any) -> None:
    with future(store).producing(lease=lease):
        pass


_TAKES: dict[str, Callable[[Store[Any], Any], object]] = {
    "own(lease=)": lambda store, lease: own(store, [1], lease=lease),
    "own(borrow_lease=)": lambda store, lease: own(store, [1], borrow_lease=lease),
    "into_owned(lease=)": lambda store, lease: into_owned(store.proxy([1]), lease=lease),
    "share(lease=)": lambda store, lease: share(store, [1], lease=lease),
    "JobLifetime(poll_seconds=)": lambda store, seconds: JobLifetime(
        store, job_id="1", poll_seconds=seconds
    ),
    "Future.producing(lease=)": _produce,
}


@pytest.fixture
def here(make_store: Callable[..., Store[Any]]) -> Store[Any]:
    return make_store("shm")


def n_stored(store: Store[Any]) -> int:
    return len(list(store.connector.entries()))


@pytest.mark.parametrize("what", _TAKES)
@pytest.mark.parametrize(
    ("seconds", "error"),
    [(0, ValueError), (-1, ValueError), (NAN, ValueError), ("5", TypeError), (True, TypeError)],
)
def test_a_duration_is_a_number_above_zero(
    here: Store[Any], what: str, seconds: Any, error: type[Exception]
) -> None:
    n_before = n_stored(here) if what.startswith("own") else None
    with pytest.raises(error) as refused:
        _TAKES[what](here, seconds)
    assert f"{what} takes a number of seconds" in str(refused.value)
    assert repr(seconds) in str(refused.value)
    if n_before is not None:
        assert n_before == n_stored(here), "nothing was stored"


@pytest.mark.parametrize("expiry", [NAN, "soon", None, 1j, Decimal(1)])
def test_an_expiry_is_a_time_or_a_number(here: Store[Any], expiry: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="takes a number of seconds"):
        LeaseLifetime(here, expiry)
    with LeaseLifetime(here, 60) as lease:
        with pytest.raises((ValueError, TypeError), match="takes a number of seconds"):
            lease.extend(expiry)
        assert 59 < lease.left <= 60


@given(st.one_of(st.floats(min_value=0, exclude_min=True), st.integers(min_value=1, max_value=9)))
def test_any_number_above_zero_is_a_duration(seconds: float) -> None:
    assert seconds == checked_seconds("this", seconds)


def test_the_numbers_of_numpy_are_durations(here: Store[Any]) -> None:
    assert 1.5 == checked_seconds("this", np.float32(1.5))
    with LeaseLifetime(here, np.int64(60)) as lease, LeaseLifetime(here, timedelta(hours=1)):
        assert 59 < lease.left <= 60


@pytest.mark.parametrize("option", ["evict", "inline", "lifetime", "skip_nonproxiable", "ttl"])
def test_what_ownership_decides_cannot_be_chosen(here: Store[Any], option: str) -> None:
    owner = own(here, [1])
    n_before = n_stored(here)
    for make in (own, share, lambda _, __, **options: clone(owner, **options)):
        with pytest.raises(ValueError, match=rf"takes no {option}=: .* Leave it out\."):
            make(here, [1], **{option: 1})
    assert n_before == n_stored(here)
    with pytest.raises(ValueError, match="do not share a target"):
        clone(owner, populate_target=True)


@pytest.mark.parametrize("key", ["foo", 1, None, (), ("x",), [1]])
def test_what_is_no_key_cannot_be_added(store: Store[Any], key: Any) -> None:
    lifetime = ContextLifetime(store)
    good = store.put(1)
    with pytest.raises(InvalidKeyError, match="make_key"):
        lifetime.add_key(good, key)
    lifetime.add_key(good)
    lifetime.close()
    assert not store.exists(good)
    assert [] == find_leaks()


def test_a_key_that_only_its_connector_refuses_is_told_once_and_stops_no_other(
    make_store: Callable[..., Store[Any]],
) -> None:
    store = make_store("file")
    lifetime, good = ContextLifetime(store), store.put(1)
    lifetime.add_key(store.make_key(("../x",)), good)
    with pytest.raises(InvalidKeyError):
        lifetime.close()
    assert not store.exists(good)
    lifetime.close()


def test_a_task_lifetime_needs_a_task(here: Store[Any]) -> None:
    parent = ContextLifetime(here)
    with pytest.raises(TypeError, match="takes the future of a task"):
        TaskLifetime(None, parent=parent)
    with pytest.raises(TypeError, match="another lifetime of this package"):
        ContextLifetime(here, parent="x")
    parent.close()
