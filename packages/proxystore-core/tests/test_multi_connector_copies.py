"""Tiers that have copies: when they are made, when they are served, and when they go."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from proxystore.abc import Capability
from proxystore.connectors.multi import MultiConnector, Policy
from proxystore.errors import (
    ConnectorUnavailableError,
    KeyAlreadySetError,
    MediumFullError,
    MultiConnectorError,
)
from proxystore.payload import Buffers
from proxystore.testing import MemoryConnector

NEAR = Policy(priority=1, copies_ttl=60.0)
THROUGH = Policy(priority=1, copies_ttl=60.0, write_through=True)
FAR = Policy()

DOWN = ConnectorUnavailableError("a tier", "it is down", "Start it.")
FULL = MediumFullError("a tier", 1, "Free some.")


class Tier(MemoryConnector):
    """A connector that notes what it is asked, and breaks at will."""

    lacks: frozenset[Capability] = frozenset()
    fault: Exception | None = None

    def __init__(self, medium_id: str | None = None) -> None:
        super().__init__(medium_id)
        self.calls = Counter[str]()
        self.leases: list[float | None] = []
        self.before: Callable[[str], None] = lambda name: None
        self.after: Callable[[str], None] = lambda name: None

    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities - self.lacks

    @property
    def number_of_objects(self) -> int:
        return len(self._medium.entries)

    def _asked(self, name: str, call: Callable[[], Any]) -> Any:
        self.calls[name] += 1
        if isinstance(self.fault, ConnectorUnavailableError) or (self.fault and name == "set"):
            raise self.fault
        self.before(name)
        answer = call()
        self.after(name)
        return answer

    def set(self, key: Any, payload: Any, *, ttl: float | None = None) -> None:
        self._asked("set", lambda: super(Tier, self).set(key, payload, ttl=ttl))
        self.leases.append(ttl)

    def put_batch(self, payloads: Any, *, ttl: float | None = None) -> list[Any]:
        return list(
            self._asked("put_batch", lambda: super(Tier, self).put_batch(payloads, ttl=ttl))
        )

    def get(self, key: Any) -> bytes | None:
        found: bytes | None = self._asked("get", lambda: super(Tier, self).get(key))
        return found

    def exists(self, key: Any) -> bool:
        return bool(self._asked("exists", lambda: super(Tier, self).exists(key)))

    def evict(self, key: Any) -> None:
        self._asked("evict", lambda: super(Tier, self).evict(key))

    def replace(self, key: Any, payload: Any) -> None:
        self._asked("replace", lambda: super(Tier, self).replace(key, payload))

    def generation(self, key: Any) -> int | None:
        found: int | None = self._asked("generation", lambda: super(Tier, self).generation(key))
        return found


class Leased(Tier):
    """Objects can end, but are never replaced."""

    lacks = frozenset({Capability.REPLACEABLE})


class Fixed(Tier):
    """Objects are neither replaced nor end by themselves."""

    lacks = frozenset({Capability.REPLACEABLE, Capability.LEASABLE})


def over(far: MemoryConnector, near: MemoryConnector, policy: Policy = NEAR) -> MultiConnector:
    return MultiConnector({"near": (near, policy), "far": (far, FAR)})


every_far = pytest.mark.parametrize("make_far", [Tier, Leased, Fixed])


# --- What is copied, and when -------------------------------------------------------


@every_far
def test_an_object_is_read_once_from_its_tier_and_then_from_its_copy(
    make_far: type[Tier],
) -> None:
    far, near = make_far(), Tier()
    multi = over(far, near)
    key = multi.put(b"an object")
    assert (key.tier, near.number_of_objects) == ("far", 0)
    assert [multi.get(key) for _ in range(4)] == [b"an object"] * 4
    assert (far.calls["get"], near.calls["set"]) == (1, 1)


@pytest.mark.parametrize(
    ("make_far", "asked"),
    [(Fixed, {}), (Leased, {"exists": 1}), (Tier, {"generation": 1})],
)
def test_a_hit_asks_the_tier_of_the_object_only_what_can_have_changed(
    make_far: type[Tier], asked: dict[str, int]
) -> None:
    far = make_far()
    multi = over(far, Tier())
    key = multi.put(b"x")
    multi.get(key)
    far.calls.clear()
    assert multi.get(key) == b"x"
    assert far.calls == asked


@every_far
def test_a_batch_reads_only_what_has_no_copy_and_copies_it(make_far: type[Tier]) -> None:
    far, near = make_far(), Tier()
    multi = over(far, near)
    keys = multi.put_batch([b"0", b"1", b"2", b"3"])
    multi.get(keys[1])
    multi.evict(keys[2])
    far.calls.clear()
    assert multi.get_batch(keys) == [b"0", b"1", None, b"3"]
    assert multi.get_batch(keys[:2] + keys[3:]) == [b"0", b"1", b"3"]
    assert near.number_of_objects == 3
    assert far.calls["get"] == (3 if make_far is Fixed else 2)


def test_a_copy_is_leased() -> None:
    near = Tier()
    multi = over(Tier(), near)
    multi.get(multi.put(b"x"))
    assert near.leases == [60.0]


def test_a_tier_with_copies_keeps_no_objects() -> None:
    far, near = Tier(), Tier()
    multi = over(far, near)
    far.fault = DOWN
    with pytest.raises(MultiConnectorError, match="near: has only copies of objects in other"):
        multi.put(b"x")
    assert near.number_of_objects == 0


@pytest.mark.parametrize("write", ["put", "put_batch"])
def test_with_write_through_the_first_read_has_a_copy(write: str) -> None:
    far, near = Tier(), Tier()
    multi = over(far, near, THROUGH)
    payload = Buffers([b"an ", b"object"])
    key = multi.put(payload) if write == "put" else multi.put_batch([payload, b"y"])[0]
    assert multi.get(key) == b"an object"
    assert far.calls["get"] == 0


def test_with_write_through_a_copy_lives_no_longer_than_its_object() -> None:
    near = Tier()
    multi = over(Tier(), near, THROUGH)
    multi.put(b"x", ttl=5.0)
    multi.put_batch([b"x", b"y"], ttl=70.0)
    assert near.leases == [5.0, 60.0, 60.0]


def test_an_object_that_was_set_is_copied_when_it_is_first_read() -> None:
    near = Tier()
    multi = over(Tier(), near, THROUGH)
    key = multi.new_key()
    multi.set(key, b"x")
    assert near.number_of_objects == 0
    assert [multi.get(key), multi.get(key)] == [b"x", b"x"]
    assert near.calls["set"] == 1


@pytest.mark.parametrize("through", [False, True])
def test_sizes_that_the_policy_refuses_are_not_copied(through: bool) -> None:
    near = Tier()
    policy = Policy(1, min_size_bytes=2, max_size_bytes=3, copies_ttl=9, write_through=through)
    multi = over(Tier(), near, policy)
    for nbytes in range(5):
        assert multi.get(multi.put(bytes(nbytes))) == bytes(nbytes)
    assert near.number_of_objects == 2


def test_an_object_is_copied_on_put_by_its_own_tags() -> None:
    near = Tier()
    policy = Policy(1, superset_tags=("hot",), copies_ttl=9, write_through=True)
    multi = over(Tier(), near, policy)
    multi.put(b"x")
    multi.put(b"x", superset_tags=["hot", "more"])
    assert near.number_of_objects == 1


def test_an_object_is_copied_on_get_by_the_tags_that_all_of_its_tier_have() -> None:
    near, hot, rest = Tier(), Tier(), Tier()
    multi = MultiConnector({
        "near": (near, Policy(2, superset_tags=("hot",), copies_ttl=9)),
        "hot": (hot, Policy(1, superset_tags=("hot", "large"))),
        "rest": (rest, Policy(0)),
    })
    keys = [multi.put(b"x", superset_tags=tags) for tags in (["hot", "large"], ["hot"], [])]
    assert [key.tier for key in keys] == ["hot", "rest", "rest"]
    assert [multi.get(key) for key in keys] == [b"x"] * 3
    assert near.number_of_objects == 1


def test_copies_are_taken_only_from_tiers_of_lower_priority() -> None:
    fast, near, far = Tier(), Tier(), Tier()
    multi = MultiConnector({
        "fast": (fast, Policy(2, max_size_bytes=3)),
        "near": (near, Policy(1, copies_ttl=9)),
        "far": (far, Policy(0)),
    })
    assert multi.get(multi.put(b"x")) == b"x"
    assert multi.get(multi.put(b"large")) == b"large"
    assert near.number_of_objects == 1


@every_far
def test_a_copy_is_copied_into_the_tiers_above_it(make_far: type[Tier]) -> None:
    nearest, near, far = Tier(), Tier(), make_far()
    tiers = {
        "nearest": (nearest, Policy(2, copies_ttl=9)),
        "near": (near, Policy(1, copies_ttl=60, write_through=True)),
        "far": (far, FAR),
    }
    multi = MultiConnector(tiers)
    key = multi.put(b"x")
    assert [multi.get(key), multi.get(key)] == [b"x", b"x"]
    assert (far.calls["get"], near.calls["get"], nearest.number_of_objects) == (0, 1, 1)
    multi.evict(key)
    assert (nearest.number_of_objects, near.number_of_objects) == (0, 0)


def test_threads_that_read_one_object_copy_it_once() -> None:
    far, near = Fixed(), Tier()
    multi = over(far, near)
    key = multi.put(b"x")
    together = threading.Barrier(8, timeout=30)
    # Everybody has missed the copy when the first comes to make it.

    def meet(name: str) -> None:
        if name == "get":
            together.wait()

    far.after = meet
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(multi.get, [key] * 8)) == [b"x"] * 8
    assert near.calls["set"] == 1


def test_nobody_waits_for_somebody_elses_copy() -> None:
    far, near = Tier(), Tier()
    multi = over(far, near)
    key = multi.put(b"x")
    copying, go_on = threading.Event(), threading.Event()

    def hold(name: str) -> None:
        if name == "set":
            copying.set()
            assert go_on.wait(30)

    near.before = hold
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(multi.get, key)
        assert copying.wait(30)
        assert multi.get(key) == b"x"
        go_on.set()
        assert first.result() == b"x"
    assert near.calls["set"] == 1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_forked_while_a_thread_copies_can_copy() -> None:
    far, near = Tier(), Tier()
    multi = over(far, near)
    key = multi.put(b"x")
    copying, go_on = threading.Event(), threading.Event()

    def hold(name: str) -> None:
        if name == "set":
            copying.set()
            assert go_on.wait(30)

    near.before = hold
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(multi.get, key)
        assert copying.wait(30)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            near.before = lambda name: None
            copied = multi.get(key) == b"x" and near.number_of_objects == 1
            os._exit(0 if copied else 1)
        go_on.set()
        assert first.result() == b"x"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# --- Tiers of copies that fail --------------------------------------------------------


@pytest.mark.parametrize("policy", [NEAR, THROUGH])
@every_far
def test_a_dead_tier_of_copies_is_asked_once_and_fails_nothing(
    make_far: type[Tier], policy: Policy
) -> None:
    near = Tier()
    multi = over(make_far(), near, policy)
    near.fault = DOWN
    key = multi.put(b"x")
    assert [multi.get(key) for _ in range(5)] == [b"x"] * 5
    assert multi.get_batch([key, key]) == [b"x", b"x"]
    assert sum(near.calls.values()) == 1


def test_a_full_tier_of_copies_is_filled_no_further_but_still_read() -> None:
    far, near = Tier(), Tier()
    multi = over(far, near)
    copied, other = multi.put_batch([b"copied", b"other"])
    multi.get(copied)
    near.fault = FULL
    far.calls.clear()
    assert [multi.get(other) for _ in range(3)] == [b"other"] * 3
    assert multi.get(copied) == b"copied"
    assert near.calls["set"] == 2
    assert far.calls["get"] == 3


def test_a_dormant_tier_of_copies_is_passed_over() -> None:
    dormant = {
        "kind": "file",
        "policy": {"priority": 9, "copies_ttl": 5.0, "host_pattern": "no-host-has-this-name"},
    }
    multi = MultiConnector({"far": (MemoryConnector(), FAR)}, {"near": dormant})
    key = multi.put(b"x")
    assert multi.get(key) == b"x"
    multi.evict(key)
    assert multi.get(key) is None


def test_a_copy_of_what_cannot_change_is_served_while_its_tier_is_down() -> None:
    far = Fixed()
    multi = over(far, Tier())
    key = multi.put(b"x")
    multi.get(key)
    far.fault = DOWN
    assert multi.get(key) == b"x"
    with pytest.raises(MultiConnectorError, match="far: "):
        multi.exists(key)


@pytest.mark.parametrize("make_far", [Tier, Leased])
def test_a_copy_that_may_be_stale_is_not_served_while_its_tier_is_down(
    make_far: type[Tier],
) -> None:
    far = make_far()
    multi = over(far, Tier())
    key = multi.put(b"x")
    multi.get(key)
    far.fault = DOWN
    with pytest.raises(MultiConnectorError, match=r"get of MultiKey.*far: "):
        multi.get(key)


def test_what_a_failed_write_left_elsewhere_is_not_copied_as_the_object() -> None:
    """The generation comes from one tier and the bytes from another: nobody knows of what."""
    near, far, other = Tier(), Tier(), Tier()
    tiers = {
        "near": (near, Policy(2, copies_ttl=9)),
        "far": (far, Policy(1)),
        "other": (other, FAR),
    }
    multi = MultiConnector(tiers)
    key = multi.put(b"older")
    other.set(other.new_key(key.object_id), b"older")
    multi.replace(key, b"newer")

    def fail_to_read(name: str) -> None:
        if name == "get":
            raise DOWN

    far.before = fail_to_read
    assert multi.get(key) == b"older"
    far.before = lambda name: None
    assert multi.get(key) == b"newer"


# --- Gone, replaced -------------------------------------------------------------------


@every_far
def test_evict_removes_the_object_first_and_then_its_copies(make_far: type[Tier]) -> None:
    order: list[str] = []
    far, near = make_far(), Tier()
    far.after = lambda name: order.append("far") if name == "evict" else None
    near.after = lambda name: order.append("near") if name == "evict" else None
    multi = over(far, near, THROUGH)
    key = multi.put(b"x")
    assert near.number_of_objects == 1
    multi.evict(key)
    assert order == ["far", "near"]
    assert near.number_of_objects == 0
    assert multi.get(key) is None


@every_far
def test_if_the_object_cannot_be_removed_its_copies_stay(make_far: type[Tier]) -> None:
    far, near = make_far(), Tier()
    multi = over(far, near, THROUGH)
    key = multi.put(b"x")
    far.fault = DOWN
    with pytest.raises(MultiConnectorError, match="evict"):
        multi.evict(key)
    assert (near.number_of_objects, near.calls["evict"]) == (1, 0)
    far.fault = None
    assert multi.get(key) == b"x"
    multi.evict(key)
    assert near.number_of_objects == 0


def test_if_the_object_cannot_be_removed_what_a_failed_write_left_stays_too() -> None:
    far, other = Tier(), Tier()
    multi = MultiConnector({"far": (far, Policy(1)), "other": (other, FAR)})
    key = multi.put(b"x")
    other.set(other.new_key(key.object_id), b"x")
    far.fault = DOWN
    with pytest.raises(MultiConnectorError, match="evict"):
        multi.evict(key)
    assert multi.get(key) == b"x"


@pytest.mark.parametrize("make_far", [Leased, Fixed])
def test_a_copy_that_would_be_served_is_dropped_also_from_a_tier_that_rests(
    make_far: type[Tier],
) -> None:
    near = Tier()
    multi = over(make_far(), near, THROUGH)
    key = multi.put(b"x")
    near.fault = DOWN
    assert multi.get(key) == b"x"
    near.fault = None
    multi.evict(key)
    assert near.number_of_objects == 0


@pytest.mark.parametrize("make_far", [Tier, Leased])
def test_a_copy_that_could_not_be_dropped_is_not_served(make_far: type[Tier]) -> None:
    far, near = make_far(), Tier()
    multi = over(far, near, THROUGH)
    key = multi.put(b"x")
    near.fault = DOWN
    multi.evict(key)
    near.fault = None
    assert near.number_of_objects == 1
    # One for which no tier rests.
    assert over(far, near).get(key) is None


@every_far
def test_an_object_that_is_evicted_while_it_is_copied_leaves_no_copy(
    make_far: type[Tier],
) -> None:
    far, near = make_far(), Tier()
    multi = over(far, near)
    key = multi.put(b"x")
    # After the evict has looked for copies, the copy is made of what was read before.
    near.before = lambda name: multi.evict(key) if name == "set" else None
    multi.get(key)
    assert near.number_of_objects == 0
    assert multi.get(key) is None


def test_a_copy_whose_object_cannot_be_asked_for_again_is_dropped() -> None:
    far, near = Fixed(), Tier()
    multi = over(far, near)
    key = multi.put(b"x")

    def break_far(name: str) -> None:
        far.fault = DOWN if name == "set" else None

    near.before = break_far
    assert multi.get(key) == b"x"
    assert near.number_of_objects == 0


@pytest.mark.parametrize("policy", [NEAR, THROUGH])
def test_a_copy_of_an_older_generation_is_never_served(policy: Policy) -> None:
    far, near = Tier(), Tier()
    multi = over(far, near, policy)
    key = multi.put(b"0")
    elsewhere = over(far, Tier(), policy)
    for number in (b"1", b"2", b"3"):
        assert multi.get(key) is not None
        elsewhere.replace(key, number)
        assert multi.get(key) == number
    multi.replace(key, b"4")
    assert multi.get(key) == b"4"


def test_replace_drops_the_copies() -> None:
    near = Tier()
    multi = over(Tier(), near, THROUGH)
    key = multi.put(b"old")
    multi.replace(key, b"new")
    assert near.number_of_objects == 0


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_object_that_is_replaced_while_it_is_copied_is_not_served(moment: str) -> None:
    far, near = Tier(), Tier()
    multi = over(far, near)
    key = multi.put(b"old")

    def replace_once(name: str) -> None:
        if name == "get":
            setattr(far, moment, lambda name: None)
            multi.replace(key, b"new")

    setattr(far, moment, replace_once)
    multi.get(key)
    assert multi.get(key) == b"new"
    assert near.number_of_objects == 1


def test_an_object_that_was_set_again_is_not_read_from_the_copy_of_the_first() -> None:
    far, near = Tier(), Tier()
    multi = over(far, near)
    key = multi.new_key()
    multi.set(key, b"first")
    multi.get(key)
    near.fault = DOWN
    multi.evict(key)
    near.fault = None
    multi.set(key, b"second")
    assert over(far, near).get(key) == b"second"


def test_a_key_can_be_set_only_once_whatever_copies_there_are() -> None:
    multi = over(Tier(), Tier())
    key = multi.new_key()
    multi.set(key, b"x")
    multi.get(key)
    with pytest.raises(KeyAlreadySetError):
        multi.set(key, b"y")


@pytest.mark.parametrize("make_far", [Tier, Leased])
def test_an_object_that_has_ended_is_not_read_from_its_copy(make_far: type[Tier]) -> None:
    far = make_far()
    multi = over(far, Tier())
    key = multi.put(b"x", ttl=60.0)
    assert multi.get(key) == b"x"
    far.touch(far.new_key(key.object_id), 1e-9)
    assert multi.get(key) is None


def test_exists_touch_generation_and_ranges_ask_the_tier_of_the_object() -> None:
    far, near = Tier(), Tier()
    multi = over(far, near, THROUGH)
    key = multi.put(b"abc")
    near.fault = DOWN
    assert multi.exists(key) is True
    assert multi.generation(key) == far.generation(far.new_key(key.object_id))
    assert multi.touch(key, 9.0) is True
    assert multi.get_range(key, 1, 1) == b"b"
    assert near.calls == {"exists": 1, "set": 1}
