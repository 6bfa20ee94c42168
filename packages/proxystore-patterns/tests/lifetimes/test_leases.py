"""Leases end at their time, by the medium where it can."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from proxystore.store import Store
from proxystore_patterns.errors import LifetimeEndedError
from proxystore_patterns.lifetimes import LeaseLifetime, find_leaks

MakeStore = Callable[..., Store[Any]]
Until = Callable[[Callable[[], bool]], bool]


@pytest.fixture
def local(make_store: MakeStore) -> Store[Any]:
    return make_store("local")


@pytest.mark.parametrize("medium", ["local", "shm", "file", "redis"])
def test_a_lease_ends_at_its_time(make_store: MakeStore, medium: str, until: Until) -> None:
    store = make_store(medium)
    lease = LeaseLifetime(store, 0.2)
    key = store.put(1, lifetime=lease)
    assert 0 < lease.left <= 0.2
    assert not lease.done()
    assert until(lease.done)
    assert until(lambda: not store.exists(key))
    assert lease.left == 0


def test_a_lease_can_be_a_time_or_a_span(local: Store[Any], until: Until) -> None:
    for expiry in (
        timedelta(hours=1),
        datetime.now(UTC) + timedelta(hours=1),
        datetime.now() + timedelta(hours=1),  # noqa: DTZ005 - local times are allowed
        3600,
    ):
        with LeaseLifetime(local, expiry) as lease:
            assert 3590 < lease.left <= 3600
    assert until(LeaseLifetime(local, -1).done)


def test_a_lease_can_be_renewed(store: Store[Any], until: Until) -> None:
    lease = LeaseLifetime(store, 3600)
    key = store.put(1, lifetime=lease)
    lease.extend(60)
    assert 3650 < lease.left <= 3660
    lease.extend(timedelta(seconds=40))
    assert 3690 < lease.left <= 3700
    lease.extend(datetime.now(UTC) + timedelta(seconds=0.05))
    assert lease.left <= 0.05
    assert until(lease.done)
    assert not store.exists(key)
    with pytest.raises(LifetimeEndedError):
        lease.extend(1)


@pytest.mark.slow
def test_the_medium_ends_the_objects_of_a_killed_process(
    store: Store[Any], run: Callable[..., Any], until: Until
) -> None:
    holder = run(
        "from proxystore.store import get_store\n"
        "from proxystore_patterns.lifetimes import LeaseLifetime\n"
        "store = get_store(given)\n"
        "lease = LeaseLifetime(store, 1.0)\n"
        "say(tuple(store.put('x', lifetime=lease)))\n"
        "sys.stdin.readline()",
        store.proxy("any"),
    )
    key = store.make_key(holder.hear())
    assert store.exists(key)
    holder.kill()
    assert until(lambda: not store.exists(key))
    assert [] == find_leaks()


def test_a_lease_keeps_no_interpreter(store: Store[Any], run: Callable[..., Any]) -> None:
    holder = run(
        "from proxystore.store import get_store\n"
        "from proxystore_patterns.lifetimes import *\n"
        "store = get_store(given)\n"
        "lease = LeaseLifetime(store, 3600)\n"
        "store.put('x', lifetime=lease)\n"
        "store.put('x', lifetime=StaticLifetime())",
        store.proxy("any"),
    )
    assert 0 == holder.wait()
