"""`MultiConnector`: one connector over several, each for the objects that suit it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any, ClassVar, Self, TypeVar

from proxystore.abc import Acknowledgement, Capability, Connector, Key, Medium
from proxystore.connectors._copies import Copies
from proxystore.connectors._policy import Policy
from proxystore.connectors._routing import MultiKey, Routes, Wish, unplaced_key
from proxystore.connectors._tiers import Tier
from proxystore.connectors.keys import EXPECTED_ID, expected_key, is_id
from proxystore.connectors.load import adapt
from proxystore.errors import (
    CapabilityError,
    ClosedError,
    ConfigError,
    InvalidKeyError,
    KeyAlreadySetError,
    KeyNotSetError,
    MultiConnectorError,
)
from proxystore.payload import BytesLike, Payload

__all__ = ["MultiConnector", "MultiKey", "Policy"]

T = TypeVar("T")

_IMPLEMENTED = frozenset({
    Capability.CROSS_PROCESS,
    Capability.DEFERRABLE,
    Capability.LEASABLE,
    Capability.RANGED,
    Capability.REPLACEABLE,
})


# Any: what a caller passed as a tier, which may be anything.
def _check_tier(name: str, tier: Any) -> None:
    if not isinstance(tier, Sequence) or len(tier) != 2 or not isinstance(tier[1], Policy):
        raise ConfigError(
            f"tier {name!r} of a MultiConnector",
            f"expected a pair of a connector and its policy, such as (connector, Policy()), "
            f"and found {tier!r}",
        )


class MultiConnector(Connector[MultiKey]):
    """Stores each object in the first of several tiers that takes it and works.

    A payload goes to the tier of highest priority whose policy admits its size
    and tags. A tier that is unavailable or full is passed over for the next;
    one that was unavailable is tried last for a second.

    An object is in one tier, and its key names it. If that tier fails, `get`
    answers from another only where a copy is (a write that seemed to fail may
    have left one), and otherwise raises: unreachable is not absent. A tier
    whose ``host_pattern`` does not match this host is kept in the config,
    but not opened; keys that name it raise here, those made by `new_key`
    are looked for in the other tiers.

    A tier whose policy has ``copies_ttl`` keeps no objects, but leased copies
    of those in tiers of lower priority: of each that `get` or `get_batch` reads
    and its policy admits, by the tags that all objects of the lower tier have;
    with ``write_through`` already of each that is put (of one that is set, when
    it is first read). The call that reads or puts makes the copy before it returns,
    unless another thread is at it. A tier of copies that is full or unavailable
    fails nothing.

    The tier of the object stays the judge. Where objects can be replaced or
    end, each hit asks it first, and so no reader anywhere gets what was
    evicted or replaced; nor anything if that tier fails. Where neither is so,
    a hit asks nobody. Then `evict` drops the copies that it can reach, and what it
    cannot (copies on other hosts or in other processes, in a tier that fails, or
    of a process that died while it copied) is served until ``copies_ttl`` has
    passed; as is, for an instant, a copy that somebody was just making.

    Args:
        connectors: Tiers by name. Their connectors belong to this one, which closes them.
        dormant_connectors: Configs of tiers that are not for this host.

    Raises:
        ConfigError: There is no tier, or none that keeps objects; a name is empty
            or given twice; a tier is no pair of a connector and a policy; or one
            for copies is not Deferrable and Leasable, or has none to copy from.
    """

    key_type: ClassVar[type] = MultiKey

    # Any: connectors of any key, also those that `adapt` fits to the contract.
    def __init__(
        self,
        connectors: Mapping[str, tuple[Any, Policy]],
        dormant_connectors: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        for name, tier in connectors.items():
            _check_tier(name, tier)
        tiers = [Tier(name, adapt(each), policy) for name, (each, policy) in connectors.items()]
        self._assemble(tiers, dormant_connectors or {})

    def _assemble(self, tiers: Sequence[Tier], dormant: Mapping[str, Mapping[str, Any]]) -> None:
        self._routes = Routes(tiers, dormant)
        self._copies = Copies(self._routes)
        keeping = self._routes.keeping
        common = _IMPLEMENTED.intersection(*(tier.capabilities for tier in keeping))
        if not all(tier.takes_ids for tier in keeping):
            common -= {Capability.DEFERRABLE}
        self._capabilities = common
        self._closed = False

    # --- Writing ----------------------------------------------------------------

    def put(
        self,
        payload: Payload,
        *,
        subset_tags: Iterable[str] = (),
        superset_tags: Iterable[str] = (),
        ttl: float | None = None,
    ) -> MultiKey:
        """As `Connector.put`, in the first tier that admits the payload and works.

        Args:
            payload: What to store.
            subset_tags: Must all be among the ``subset_tags`` of a tier's policy.
            superset_tags: Must include all ``superset_tags`` of a tier's policy.
            ttl: As `Leasable.put`. Tiers that are not Leasable do not take it.

        Raises:
            MultiConnectorError: No tier did. It lists what each said.
        """
        tags = {"subset_tags": subset_tags, "superset_tags": superset_tags}
        return self.put_batch([payload], **tags, ttl=ttl)[0]

    def put_batch(
        self,
        payloads: Sequence[Payload],
        *,
        subset_tags: Iterable[str] = (),
        superset_tags: Iterable[str] = (),
        ttl: float | None = None,
    ) -> list[MultiKey]:
        """As `Connector.put_batch`, each as `put`; in one batch if one tier takes them all."""
        self._check_open()
        tags = (frozenset(subset_tags), frozenset(superset_tags))
        wishes = [Wish(payload, *tags, ttl) for payload in payloads]
        keys = self._routes.store_together(wishes) if len(wishes) > 1 else []
        try:
            for wish in wishes[len(keys) :]:
                keys.append(self._routes.store(unplaced_key(), wish))
            for key, wish in zip(keys, wishes, strict=True):
                self._copies.write_through(key, wish)
        except BaseException:
            for key in keys:
                # What failed first is the news, also if a tier fails again here.
                with suppress(MultiConnectorError):
                    self.evict(key)
            raise
        return keys

    def new_key(self, object_id: str | None = None) -> MultiKey:
        """As `Deferrable.new_key`. It is routed when it is set.

        Raises:
            CapabilityError: A tier is not Deferrable.
        """
        self._require(Capability.DEFERRABLE, "new_key()")
        if object_id is not None and not is_id(object_id):
            raise InvalidKeyError(repr(object_id), EXPECTED_ID)
        return unplaced_key(object_id)

    def set(
        self,
        key: MultiKey,
        payload: Payload,
        *,
        subset_tags: Iterable[str] = (),
        superset_tags: Iterable[str] = (),
        ttl: float | None = None,
    ) -> None:
        """As `Deferrable.set`, with the routing of `put`.

        Once, as far as the tiers can tell: two calls that go to the same tier
        never both succeed, nor does one that begins when another has
        returned, while its tier can be asked. Two at the same time whose
        sizes or tags lead them to different tiers can; readers then see the
        object of the tier with the higher priority.
        """
        self._require(Capability.DEFERRABLE, "set()")
        self._check_key(key)
        wish = Wish(payload, frozenset(subset_tags), frozenset(superset_tags), ttl)
        if self._routes.any_has(key):
            raise KeyAlreadySetError(repr(key))
        try:
            self._routes.store(key, wish)
        except KeyAlreadySetError as exc:
            # The tier's error would name the tier's key.
            raise KeyAlreadySetError(repr(key)) from exc

    def replace(self, key: MultiKey, payload: Payload) -> None:
        """As `Replaceable.replace`, in the tier that has the object, whatever its policy.

        No copy of an older generation is served from then on.
        """
        self._require(Capability.REPLACEABLE, "replace()")
        holder = self._find(
            "replace",
            key,
            lambda tier, own: (tier, own) if tier.connector.exists(own) else None,
            absent=None,
        )
        if holder is None:
            raise KeyNotSetError(repr(key))
        tier, tier_key = holder
        older = self._copies.edition(key)
        tier.connector.replace(tier_key, payload)
        self._copies.drop(older)

    def evict(self, key: MultiKey) -> None:
        """As `Connector.evict`: the object first, then its copies.

        Raises:
            MultiConnectorError: The tier that the key names, or any if it
                names none, could not be asked. Copies stay.
        """
        self._check_open()
        self._check_key(key)
        edition = self._copies.edition(key)
        self._routes.evict(key)
        self._copies.drop(edition)

    # --- Reading ----------------------------------------------------------------

    def get(self, key: MultiKey) -> BytesLike | None:
        """As `Connector.get`.

        Raises:
            MultiConnectorError: The tier that has the object failed, and no
                other has a copy.
        """
        self._check_open()
        self._check_key(key)
        found = self._copies.get(key)
        return None if found is None else found.data

    def get_batch(self, keys: Sequence[MultiKey]) -> list[BytesLike | None]:
        """As `Connector.get_batch`, with one batch for each tier that is named."""
        self._check_open()
        named: dict[str, list[int]] = defaultdict(list)
        for position, key in enumerate(keys):
            self._check_key(key)
            named[key.tier].append(position)
        found: list[BytesLike | None] = [None] * len(keys)
        for name, positions in named.items():
            wanted = [keys[position] for position in positions]
            for position, each in zip(positions, self._copies.get_batch(name, wanted), strict=True):
                found[position] = None if each is None else each.data
        return found

    def exists(self, key: MultiKey) -> bool:
        """As `Connector.exists`; raises as `get` does."""
        return self._find(
            "exists", key, lambda tier, own: bool(tier.connector.exists(own)), absent=False
        )

    def generation(self, key: MultiKey) -> int | None:
        """As `Replaceable.generation`; raises as `get` does."""
        self._require(Capability.REPLACEABLE, "generation()")
        found: int | None = self._find(
            "generation", key, lambda tier, own: tier.connector.generation(own), absent=None
        )
        return found

    def touch(self, key: MultiKey, ttl: float | None) -> bool:
        """As `Leasable.touch`; raises as `get` does."""
        self._require(Capability.LEASABLE, "touch()")
        return self._find(
            "touch", key, lambda tier, own: bool(tier.connector.touch(own, ttl)), absent=False
        )

    def get_range(self, key: MultiKey, offset: int, length: int) -> BytesLike | None:
        """As `Ranged.get_range`, never from a copy; raises as `get` does."""
        self._require(Capability.RANGED, "get_range()")
        found: BytesLike | None = self._find(
            "get_range",
            key,
            lambda tier, own: tier.connector.get_range(own, offset, length),
            absent=None,
        )
        return found

    # --- The connector itself ------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """Tiers by name, each ``{"kind": ..., "options": ..., "policy": ...}``."""
        return self._routes.config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """As `Connector.from_config`; opens the tiers that are for this host.

        Raises:
            ConfigError: A tier names a connector, option or policy field that does not exist.
        """
        tiers, dormant = [], {}
        for name, tier in config.items():
            if Policy.from_dict(tier.get("policy", {})).is_valid_on_host():
                tiers.append(Tier.from_config(name, tier))
            else:
                dormant[name] = tier
        multi = cls.__new__(cls)
        multi._assemble(tiers, dormant)
        return multi

    def close(self, *, clear: bool | None = None) -> None:
        """As `Connector.close`, for every tier, also if one raises."""
        self._closed = True
        with ExitStack() as tiers:
            for tier in self._routes.active.values():
                tiers.callback(tier.close, clear=clear)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What every tier that keeps objects here can do, of what this connector passes on."""
        return self._capabilities

    @property
    def medium(self) -> Medium:
        """The farthest of those of the tiers, so that all are checked as it needs."""
        order = list(Medium)
        media = (tier.connector.medium for tier in self._routes.active.values())
        return max(media, key=order.index, default=Medium.NETWORK)

    @property
    def acknowledges(self) -> Acknowledgement:
        """The least that a tier promises which keeps objects."""
        order = list(Acknowledgement)
        levels = (tier.connector.acknowledges for tier in self._routes.keeping)
        return min(levels, key=order.index, default=Acknowledgement.MEMORY)

    def __repr__(self) -> str:
        return f"<MultiConnector of {', '.join(self._routes.names)}>"

    # --- Inside ---------------------------------------------------------------------

    def _find(self, asked: str, key: MultiKey, look: Callable[[Tier, Key], T], *, absent: T) -> T:
        self._check_open()
        self._check_key(key)
        return self._routes.find(asked, key, look, absent=absent)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(repr(self))

    def _require(self, capability: Capability, asked: str) -> None:
        self._check_open()
        if capability not in self._capabilities:
            raise CapabilityError(asked, repr(self), capability.value)

    # Any: what a caller passed as a key, which may be anything.
    def _check_key(self, key: Any) -> None:
        if not isinstance(key, MultiKey):
            raise InvalidKeyError(repr(key), expected_key(MultiKey))
        object_id, tier, tier_key = tuple[Any, Any, Any](key)
        if not isinstance(object_id, str) or not is_id(object_id):
            raise InvalidKeyError(repr(key), f"an object_id of {EXPECTED_ID}")
        if tier != "" and tier not in self._routes.names:
            raise InvalidKeyError(repr(key), f"a tier of {self!r}")
        if not isinstance(tier_key, tuple):
            raise InvalidKeyError(repr(key), "a tuple as its tier_key")
