"""Batches of a `MultiConnector`: whole where one tier takes them, and all or nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from proxystore.connectors.multi import MultiConnector, Policy
from proxystore.errors import (
    ConnectorUnavailableError,
    KeyAlreadySetError,
    KeyNotSetError,
    MediumFullError,
)
from proxystore.testing import MemoryConnector

FAR = Policy()
DOWN = ConnectorUnavailableError("a tier", "it is down", "Start it.")
FULL = MediumFullError("a tier", 1, "Free some.")


class Tier(MemoryConnector):
    """A connector that notes how it is written to, and fails at will."""

    fault: BaseException | None = None

    def __init__(self) -> None:
        super().__init__()
        self.calls = Counter[str]()
        self.leases: list[float | None] = []

    @property
    def number_of_objects(self) -> int:
        return len(self._medium.entries)

    def set(self, key: Any, payload: Any, *, ttl: float | None = None) -> None:
        if self.fault is not None:
            raise self.fault
        self.leases.append(ttl)
        super().set(key, payload, ttl=ttl)

    def put_batch(self, payloads: Any, *, ttl: float | None = None) -> list[Any]:
        self.calls["put_batch"] += 1
        return list(super().put_batch(payloads, ttl=ttl))


def test_a_batch_for_one_tier_is_its_batch() -> None:
    far = Tier()
    multi = MultiConnector({"far": (far, FAR)})
    keys = multi.put_batch([b"a", b"b"], ttl=9.0)
    assert far.calls["put_batch"] == 1
    assert far.leases == [9.0, 9.0]
    assert multi.get_batch(keys) == [b"a", b"b"]
    assert len(set(keys)) == 2


def test_a_batch_for_several_tiers_is_split() -> None:
    small, large = Tier(), Tier()
    multi = MultiConnector({"small": (small, Policy(1, max_size_bytes=1)), "large": (large, FAR)})
    keys = multi.put_batch([b"a", b"bb", b"c"])
    assert [key.tier for key in keys] == ["small", "large", "small"]
    assert multi.get_batch(keys) == [b"a", b"bb", b"c"]


@pytest.mark.parametrize("fault", [DOWN, FULL])
def test_a_batch_falls_through_a_tier_that_fails(fault: Exception) -> None:
    first, second = Tier(), Tier()
    first.fault = fault
    multi = MultiConnector({"first": (first, Policy(1)), "second": (second, FAR)})
    keys = multi.put_batch([b"a", b"b"])
    assert {key.tier for key in keys} == {"second"}
    assert multi.get_batch(keys) == [b"a", b"b"]


def test_a_key_of_a_batch_is_one_like_any_other() -> None:
    multi = MultiConnector({"only": (Tier(), FAR)})
    key, other = multi.put_batch([b"a", b"b"])
    with pytest.raises(KeyAlreadySetError):
        multi.set(key, b"c")
    multi.replace(key, b"d")
    assert multi.get(key) == b"d"
    multi.evict(key)
    multi.evict(other)
    assert multi.get_batch([key, other]) == [None, None]
    multi.set(key, b"again")
    assert multi.get(key) == b"again"
    with pytest.raises(KeyNotSetError):
        multi.replace(other, b"x")


@pytest.mark.parametrize("where", ["storing", "copying"])
def test_an_interrupted_batch_leaves_nothing(where: str) -> None:
    far, other, near = Tier(), Tier(), Tier()
    multi = MultiConnector({
        "near": (near, Policy(2, copies_ttl=9, write_through=True)),
        "other": (other, Policy(1, max_size_bytes=1)),
        "far": (far, FAR),
    })
    (far if where == "storing" else near).fault = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        multi.put_batch([b"a", b"b", b"larger"])
    assert [tier.number_of_objects for tier in (near, other, far)] == [0, 0, 0]


def test_an_interrupted_put_leaves_nothing() -> None:
    far, near = Tier(), Tier()
    policy = Policy(1, copies_ttl=9, write_through=True)
    multi = MultiConnector({"near": (near, policy), "far": (far, FAR)})
    near.fault = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        multi.put(b"a")
    assert [tier.number_of_objects for tier in (near, far)] == [0, 0]
