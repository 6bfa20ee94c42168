"""Routing over tiers, and what holds when a tier fails."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.abc import Acknowledgement, Capability, Medium
from proxystore.connectors.file import FileConnector
from proxystore.connectors.multi import MultiConnector, MultiKey, Policy
from proxystore.errors import (
    CapabilityError,
    ConfigError,
    ConnectorUnavailableError,
    InvalidKeyError,
    KeyAlreadySetError,
    MediumFullError,
    MultiConnectorError,
)
from proxystore.testing import MemoryConnector, Peer

ELSEWHERE = "no-host-has-this-name"
COPIES = Policy(1, copies_ttl=60.0)


class Full(MemoryConnector):
    def set(self, key: Any, payload: Any, **options: Any) -> None:
        raise MediumFullError("a full tier", len(payload), "Free some.")


class Down(MemoryConnector):
    is_down, asked = True, 0

    def set(self, key: Any, payload: Any, **options: Any) -> None:
        self._ask()
        super().set(key, payload, **options)

    def evict(self, key: Any) -> None:
        self._ask()
        super().evict(key)

    def _ask(self) -> None:
        self.asked += 1
        if self.is_down:
            raise ConnectorUnavailableError("a tier", "it is down", "Start it.")


class NotDeferrable(MemoryConnector):
    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities - {Capability.DEFERRABLE}


class Endless(MemoryConnector):
    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities - {Capability.LEASABLE}


class Older:
    """As the older system has connectors: bytes only, keys of its own."""

    def __init__(self) -> None:
        self.objects: dict[tuple[int], bytes] = {}

    def put(self, data: bytes) -> tuple[int]:
        assert type(data) is bytes
        self.objects[len(self.objects),] = data
        return (len(self.objects) - 1,)

    def get(self, key: tuple[int]) -> bytes | None:
        return self.objects.get(key)

    def exists(self, key: tuple[int]) -> bool:
        return key in self.objects

    def evict(self, key: tuple[int]) -> None:
        self.objects.pop(key, None)

    def put_batch(self, batch: list[bytes]) -> list[tuple[int]]:
        return [self.put(data) for data in batch]

    def get_batch(self, keys: list[tuple[int]]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def config(self) -> dict[str, Any]:
        return {}

    def close(self) -> None: ...


@pytest.fixture
def multi(tmp_path: Path) -> MultiConnector:
    """Two tiers of files, of which the first is preferred."""
    return MultiConnector({
        "near": (FileConnector(tmp_path / "near"), Policy(priority=1)),
        "far": (FileConnector(tmp_path / "far"), Policy()),
    })


def over(**policies: Policy) -> MultiConnector:
    return MultiConnector({name: (MemoryConnector(), p) for name, p in policies.items()})


# --- Routing ------------------------------------------------------------------


def test_a_payload_goes_to_the_tier_for_its_size() -> None:
    multi = over(small=Policy(max_size_bytes=10), large=Policy(min_size_bytes=11))
    assert [multi.put(bytes(n)).tier for n in (0, 10, 11)] == ["small", "small", "large"]


def test_the_highest_priority_goes_first_whatever_the_order() -> None:
    multi = over(low=Policy(-1), high=Policy(5), middle=Policy())
    assert multi.put(b"x").tier == "high"


def test_tags_choose_the_tier() -> None:
    multi = over(gpu=Policy(2, subset_tags=("gpu", "fast"), superset_tags=("gpu",)), any=Policy(1))
    assert multi.put(b"x").tier == "any"
    assert multi.put(b"x", superset_tags=["gpu", "more"]).tier == "gpu"
    assert multi.put(b"x", subset_tags=["fast"], superset_tags=["gpu"]).tier == "gpu"
    assert multi.put_batch([b"x", b"y"], superset_tags={"gpu"})[1].tier == "gpu"


def test_without_a_tier_that_admits_it_a_put_says_what_each_tier_takes() -> None:
    multi = over(small=Policy(max_size_bytes=3), tagged=Policy(superset_tags=("gpu",)))
    with pytest.raises(MultiConnectorError) as caught:
        multi.put(b"four", subset_tags=["x"])
    text = str(caught.value)
    assert "put of 4 bytes with tags ['x']" in text
    assert "small: takes 0 to 3 bytes" in text
    assert "tagged: takes no tags but []" in text


def test_an_object_with_a_ttl_goes_to_a_tier_that_has_leases() -> None:
    multi = MultiConnector({
        "endless": (Endless(), Policy(1)),
        "leased": (MemoryConnector(), Policy()),
    })
    assert multi.put(b"x").tier == "endless"
    assert multi.put(b"x", ttl=60.0).tier == "leased"


sizes = st.integers(0, 40)
tags = st.frozensets(st.sampled_from("abc"))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    low, high = sorted((draw(sizes), draw(sizes)))
    return Policy(draw(st.integers(0, 3)), None, low, high, draw(tags), draw(tags))


@given(st.lists(policies(), min_size=1, max_size=4), sizes, tags, tags)
def test_routing_takes_the_best_policy_that_is_valid(
    tiers: list[Policy], nbytes: int, subset: frozenset[str], superset: frozenset[str]
) -> None:
    multi = over(**{str(number): policy for number, policy in enumerate(tiers)})
    asked: dict[str, Any] = {"subset_tags": subset, "superset_tags": superset}
    valid = [n for n, policy in enumerate(tiers) if policy.is_valid(size_bytes=nbytes, **asked)]
    if valid:
        best = max(valid, key=lambda number: (tiers[number].priority, -number))
        assert multi.put(bytes(nbytes), **asked).tier == str(best)
    else:
        with pytest.raises(MultiConnectorError):
            multi.put(bytes(nbytes), **asked)


# --- Policies -----------------------------------------------------------------


@given(policies())
def test_a_policy_is_rebuilt_from_its_values(policy: Policy) -> None:
    assert Policy.from_dict(policy.as_dict()) == policy
    assert Policy.from_dict(policy.as_dict(defaults=False)) == policy


@given(policies(), sizes, tags, tags)
def test_a_policy_is_valid_as_sets_say(
    policy: Policy, nbytes: int, subset: frozenset[str], superset: frozenset[str]
) -> None:
    expected = (
        policy.min_size_bytes <= nbytes <= policy.max_size_bytes
        and subset.issubset(policy.subset_tags)
        and superset.issuperset(policy.superset_tags)
    )
    asked: dict[str, Any] = {"subset_tags": subset, "superset_tags": superset}
    assert policy.is_valid(size_bytes=nbytes, **asked) is expected
    assert policy.is_valid() is True


def test_a_host_pattern_must_match_the_whole_name() -> None:
    host = os.uname().nodename
    assert Policy(host_pattern=".*").is_valid_on_host()
    assert not Policy(host_pattern=f"x{host}").is_valid_on_host()
    assert not Policy(host_pattern=host[:-1]).is_valid_on_host()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"host_pattern": "("}, "not a regular expression"),
        ({"min_size_bytes": 5, "max_size_bytes": 4}, "no payload has such a size"),
        ({"max_size_byte": 4}, "Did you mean 'max_size_bytes'"),
        ({"copies_ttl": 0}, "copies_ttl 0: it is no number of seconds"),
        ({"copies_ttl": float("inf")}, "copies_ttl inf"),
        ({"copies_ttl": float("nan")}, "copies_ttl nan"),
        ({"write_through": True}, "it has no copies_ttl"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Policy.from_dict(values)


# --- Tiers that fail ------------------------------------------------------------


def test_a_put_falls_through_a_dead_tier(multi: MultiConnector, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "near")
    key = multi.put(b"x")
    assert key.tier == "far"
    assert multi.get(key) == b"x"


def test_a_put_falls_through_a_full_tier() -> None:
    multi = MultiConnector({"full": (Full(), Policy(1)), "free": (MemoryConnector(), Policy())})
    assert multi.put(b"x").tier == "free"


def test_a_put_that_no_tier_could_take_says_why_of_each(
    multi: MultiConnector, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "near")
    shutil.rmtree(tmp_path / "far")
    with pytest.raises(MultiConnectorError) as caught:
        multi.put(b"x")
    assert [name for name, _ in caught.value.tiers] == ["near", "far"]
    assert isinstance(caught.value, ConnectorUnavailableError)


def test_a_dead_tier_is_tried_last_for_a_while() -> None:
    down = Down()
    multi = MultiConnector({"down": (down, Policy(1)), "other": (MemoryConnector(), Policy())})
    assert [multi.put(b"x").tier for _ in range(5)] == ["other"] * 5
    assert down.asked == 1


def test_a_tier_that_came_back_is_used_at_once_if_no_other_takes_the_object() -> None:
    down = Down()
    multi = MultiConnector({"down": (down, Policy()), "full": (Full(), Policy())})
    with pytest.raises(MultiConnectorError):
        multi.put(b"x")
    down.is_down = False
    assert multi.put(b"x").tier == "down"


def test_an_object_of_a_dead_tier_is_read_where_a_copy_is(
    multi: MultiConnector, tmp_path: Path
) -> None:
    copied, single = multi.put_batch([b"copied", b"single"])
    with FileConnector(tmp_path / "far") as far:
        far.set(far.new_key(copied.object_id), b"copied")
    shutil.rmtree(tmp_path / "near")
    assert multi.get(copied) == b"copied"
    assert multi.exists(copied) is True
    with pytest.raises(MultiConnectorError, match="near"):
        multi.get_batch([copied, single])


@pytest.mark.parametrize("method", ["get", "exists", "generation"])
def test_what_cannot_be_reached_is_not_absent(
    multi: MultiConnector, tmp_path: Path, method: str
) -> None:
    key = multi.put(b"x")
    shutil.rmtree(tmp_path / "near")
    with pytest.raises(MultiConnectorError) as caught:
        getattr(multi, method)(key)
    assert [name for name, _ in caught.value.tiers] == ["near"]
    assert str(tmp_path / "near") in str(caught.value)


def test_what_its_tier_no_longer_has_is_absent(multi: MultiConnector, tmp_path: Path) -> None:
    key = multi.put(b"x")
    shutil.rmtree(tmp_path / "far")
    multi.evict(key)
    assert multi.get(key) is None
    assert multi.exists(key) is False


def test_evict_removes_copies_from_every_tier(multi: MultiConnector, tmp_path: Path) -> None:
    key = multi.put(b"x")
    with FileConnector(tmp_path / "far") as far:
        copy = far.new_key(key.object_id)
        far.set(copy, b"x")
        multi.evict(key)
        assert far.exists(copy) is False


def test_evict_from_a_tier_that_cannot_be_asked_is_an_error() -> None:
    down = Down()
    multi = MultiConnector({"down": (down, Policy(1)), "other": (MemoryConnector(), Policy())})
    down.is_down = False
    key = multi.put(b"x")
    down.is_down = True
    with pytest.raises(MultiConnectorError, match="down"):
        multi.evict(key)
    down.is_down = False
    multi.evict(key)
    assert multi.exists(key) is False


def test_a_dead_tier_does_not_keep_objects_of_others_from_being_evicted() -> None:
    multi = MultiConnector({"down": (Down(), Policy()), "other": (MemoryConnector(), Policy(1))})
    key = multi.put(b"x")
    multi.evict(key)
    assert multi.exists(key) is False


def test_a_failed_batch_leaves_nothing() -> None:
    stored: list[Any] = []

    class Watched(MemoryConnector):
        def set(self, key: Any, payload: Any, **options: Any) -> None:
            stored.append(key)
            super().set(key, payload, **options)

    watched = Watched()
    multi = MultiConnector({"small": (watched, Policy(max_size_bytes=3))})
    with pytest.raises(MultiConnectorError):
        multi.put_batch([b"a", b"b", b"much too large"])
    assert [watched.exists(key) for key in stored] == [False, False]


# --- Keys made before their objects -----------------------------------------------


def test_a_new_key_is_routed_when_it_is_set() -> None:
    small, large = MemoryConnector(), MemoryConnector()
    multi = MultiConnector({
        "small": (small, Policy(max_size_bytes=3)),
        "large": (large, Policy(min_size_bytes=4)),
    })
    key = multi.new_key("an-id")
    assert key == MultiKey("an-id", "", ())
    multi.set(key, b"large object")
    assert large.exists(large.new_key("an-id"))
    assert multi.get(key) == b"large object"


def test_a_key_is_set_once_also_if_sizes_lead_to_different_tiers() -> None:
    multi = over(small=Policy(max_size_bytes=3), large=Policy(min_size_bytes=4))
    key = multi.new_key()
    multi.set(key, b"large object")
    with pytest.raises(KeyAlreadySetError, match="MultiKey"):
        multi.set(key, b"s")
    assert multi.get(key) == b"large object"


def test_a_key_without_a_tier_is_not_absent_while_a_tier_cannot_be_asked(
    multi: MultiConnector, tmp_path: Path
) -> None:
    key = multi.new_key()
    assert multi.get(key) is None
    shutil.rmtree(tmp_path / "near")
    with pytest.raises(MultiConnectorError, match="near"):
        multi.get(key)
    multi.set(key, b"x")
    assert multi.get(key) == b"x"


def test_a_tier_that_chooses_its_keys_takes_objects_but_no_new_keys() -> None:
    multi = MultiConnector({"chooses": (NotDeferrable(), Policy())})
    key = multi.put(b"x")
    assert len(key.tier_key) == 1
    assert type(key.tier_key) is tuple
    assert multi.get(key) == b"x"
    assert Capability.DEFERRABLE not in multi.capabilities
    for call in (multi.new_key, lambda: multi.set(key, b"y")):
        with pytest.raises(CapabilityError):
            call()


def test_a_connector_of_the_older_system_can_be_a_tier() -> None:
    multi = MultiConnector({"older": (Older(), Policy())})
    key = multi.put(bytearray(b"x"))
    assert multi.get(key) == b"x"
    multi.evict(key)
    assert multi.exists(key) is False


def test_a_connector_of_the_older_system_that_invents_its_keys_takes_no_new_keys() -> None:
    class OlderDeferrable(Older):
        def new_key(self, obj: object = None) -> tuple[int]:
            return (len(self.objects),)

        def set(self, key: tuple[int], data: bytes) -> None:
            self.objects[key] = data

    multi = MultiConnector({"older": (OlderDeferrable(), Policy())})
    assert Capability.DEFERRABLE not in multi.capabilities
    assert multi.get(multi.put(b"x")) == b"x"


@pytest.mark.parametrize(
    "key",
    [
        ("an-id", "near", ()),
        MultiKey("../x", "near", ()),
        MultiKey("an-id", "nowhere", ()),
        MultiKey("an-id", "near", "x"),  # type: ignore[arg-type]
    ],
)
def test_a_key_of_another_connector_is_refused(multi: MultiConnector, key: Any) -> None:
    with pytest.raises(InvalidKeyError):
        multi.get(key)


# --- Configs ------------------------------------------------------------------------


def test_the_config_says_only_what_is_not_usual(tmp_path: Path) -> None:
    multi = MultiConnector({
        "a": (FileConnector(tmp_path / "a"), Policy(1, subset_tags=("x",))),
        "b": (FileConnector(tmp_path / "b"), Policy()),
    })
    config = multi.config()
    assert config["a"]["kind"] == "file"
    assert config["a"]["policy"] == {"priority": 1, "subset_tags": ["x"]}
    assert set(config["b"]) == {"kind", "options"}


def test_another_process_rebuilds_it_and_routes_alike(tmp_path: Path) -> None:
    tiers = {
        "small": (FileConnector(tmp_path / "small"), Policy(max_size_bytes=10)),
        "large": (FileConnector(tmp_path / "large"), Policy(min_size_bytes=11)),
    }
    with MultiConnector(tiers) as multi, Peer(multi) as peer:
        key = multi.put(b"small")
        assert bytes(peer.call("get", key)) == b"small"
        theirs = MultiKey(*peer.call("put", None, b"a larger object"))
        assert theirs.tier == "large"
        assert multi.get(theirs) == b"a larger object"


def test_a_tier_for_other_hosts_is_kept_but_not_opened(tmp_path: Path) -> None:
    here = FileConnector(tmp_path / "here")
    config = {
        "here": {"kind": "file", "options": here.config()},
        "there": {
            "kind": "file",
            "options": {"no-such-option": 1},
            "policy": {"priority": 9, "host_pattern": ELSEWHERE},
        },
    }
    multi = MultiConnector.from_config(config)
    assert multi.config() == config
    assert multi.put(b"x").tier == "here"
    assert multi.get(MultiKey("an-id", "", ())) is None
    for method in (multi.get, multi.exists, multi.evict):
        with pytest.raises(MultiConnectorError, match=ELSEWHERE):
            method(MultiKey("an-id", "there", ()))


def test_a_dormant_tier_can_be_given_to_the_constructor() -> None:
    dormant = {"kind": "file", "policy": {"host_pattern": ELSEWHERE}}
    multi = MultiConnector({"a": (MemoryConnector(), Policy())}, {"b": dormant})
    assert multi.config()["b"] == dormant


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "no tier"),
        ({"": {"kind": "local"}}, "without a name"),
        ({"a": {"kind": "fil"}}, "Did you mean 'file'"),
        ({"a": {"kind": "local", "polcy": {}}}, "Did you mean 'policy'"),
        ({"a": {"options": {}}}, "names no kind"),
        ({"a": {"kind": "local", "policy": {"priorty": 1}}}, "Did you mean 'priority'"),
    ],
)
def test_a_config_with_a_mistake_names_it(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        MultiConnector.from_config(config)


@pytest.mark.parametrize("tier", [MemoryConnector(), (MemoryConnector(),), (MemoryConnector(), {})])
def test_a_tier_without_a_policy_is_named_with_what_is_expected(tier: Any) -> None:
    with pytest.raises(ConfigError, match=r"tier 'a'.*expected a pair .*\(connector, Policy\(\)\)"):
        MultiConnector({"a": tier})


@pytest.mark.parametrize("near", [Endless(), NotDeferrable()])
def test_a_tier_that_cannot_lease_by_id_can_have_no_copies(near: MemoryConnector) -> None:
    with pytest.raises(ConfigError, match=r"tier 'near': copies need .*Deferrable and Leasable"):
        MultiConnector({"near": (near, COPIES), "far": (MemoryConnector(), Policy())})


def test_a_tier_of_copies_needs_one_to_copy_from() -> None:
    with pytest.raises(ConfigError, match="none keeps objects"):
        over(near=COPIES)
    with pytest.raises(ConfigError, match="'near': it copies from tiers of lower priority"):
        over(near=Policy(copies_ttl=9.0), far=Policy())


# --- The whole ----------------------------------------------------------------------


def test_it_promises_what_all_tiers_do(tmp_path: Path) -> None:
    files, memory = FileConnector(tmp_path / "f"), MemoryConnector()
    mixed = MultiConnector({"files": (files, Policy()), "memory": (memory, Policy())})
    one_tier_only = {Capability.CROSS_PROCESS, Capability.WAITABLE}
    assert mixed.capabilities == files.capabilities - one_tier_only
    assert mixed.acknowledges is Acknowledgement.MEMORY
    assert mixed.medium is max((files.medium, Medium.PROCESS), key=list(Medium).index)


def test_what_is_promised_is_what_the_tiers_that_keep_objects_do(tmp_path: Path) -> None:
    far = FileConnector(tmp_path / "far")
    multi = MultiConnector({"near": (MemoryConnector(), COPIES), "far": (far, Policy())})
    assert multi.capabilities == far.capabilities - {Capability.WAITABLE}
    assert multi.acknowledges is Acknowledgement.PROCESS
    assert multi.medium is max((far.medium, Medium.PROCESS), key=list(Medium).index)


def test_closing_closes_every_tier_also_if_one_raises(tmp_path: Path) -> None:
    owned, borrowed = MemoryConnector(), MemoryConnector()
    guest = MemoryConnector.from_config(borrowed.config())
    multi = MultiConnector({"guest": (guest, Policy()), "owned": (owned, Policy())})
    with pytest.raises(PermissionError):
        multi.close(clear=True)
    for tier in (guest, owned):
        with pytest.raises(ValueError, match="closed"):
            tier.put(b"x")


def test_a_multi_connector_can_be_a_tier_of_another() -> None:
    inner = over(small=Policy(max_size_bytes=3))
    outer = MultiConnector({"inner": (inner, Policy(1)), "rest": (MemoryConnector(), Policy())})
    assert outer.put(b"abc").tier == "inner"
    key = outer.put(b"abcd")
    assert key.tier == "rest"
    assert outer.get(key) == b"abcd"
