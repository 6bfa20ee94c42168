"""Which tiers of a `MultiConnector` are asked, in which order, and what their failures mean."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from proxystore.abc import Key
from proxystore.connectors._tiers import Tier
from proxystore.connectors.keys import fresh_id
from proxystore.errors import (
    ConfigError,
    ConnectorUnavailableError,
    MediumFullError,
    MultiConnectorError,
    ObjectOnOtherHostError,
)
from proxystore.payload import BytesLike, Payload, payload_nbytes

__all__ = ["Found", "MultiKey", "Routes", "Wish", "unplaced_key"]

T = TypeVar("T")

_UNUSABLE = (ConnectorUnavailableError, ObjectOnOtherHostError)


class MultiKey(NamedTuple):
    """Key of an object in a `MultiConnector`."""

    object_id: str
    """The logical id, under which every tier that is Deferrable keeps the object."""
    tier: str
    """Name of the tier that took the object; empty if the key was made before its object."""
    tier_key: Key
    """Fields of the tier's own key, where it does not follow from the logical id."""


# Pickled keys name the public module, and can be read when this one has moved.
MultiKey.__module__ = "proxystore.connectors.multi"


def unplaced_key(object_id: str | None = None) -> MultiKey:
    """A key of an object that no tier has yet; of a fresh id by default."""
    return MultiKey(object_id or fresh_id(), "", ())


class Wish(NamedTuple):
    """A payload, and what decides where it goes."""

    payload: Payload
    subset_tags: frozenset[str]
    superset_tags: frozenset[str]
    ttl: float | None

    def __str__(self) -> str:
        tags = sorted(self.subset_tags | self.superset_tags)
        return f"put of {payload_nbytes(self.payload)} bytes" + (
            f" with tags {tags}" if tags else ""
        )


class Found(NamedTuple):
    """The bytes of an object, and where they were."""

    tier: Tier
    data: BytesLike


class Routes:
    """The tiers, by descending priority. Takes keys that were checked.

    Objects are in the tiers that keep them; for copies of them see `Copies`.

    Args:
        tiers: Those that are open here.
        dormant: Configs of those that are not for this host.

    Raises:
        ConfigError: There is no tier, or none that keeps objects, or a name is
            empty or given twice; or a tier for copies comes behind all others.
    """

    # Any in this class: options and methods are those of any connector.
    def __init__(self, tiers: Sequence[Tier], dormant: Mapping[str, Mapping[str, Any]]) -> None:
        ordered = sorted(tiers, key=lambda tier: -tier.policy.priority)
        self.active = {tier.name: tier for tier in ordered}
        self._dormant = {name: dict(config) for name, config in dormant.items()}
        self.names = (*self.active, *self._dormant)
        if not self.names or not all(self.names):
            raise ConfigError("a MultiConnector", "it has no tier, or one without a name")
        if both := self._dormant.keys() & self.active.keys():
            raise ConfigError(f"tier {min(both)!r}", "it is given as active and as dormant")
        self.keeping = [tier for tier in ordered if not tier.has_copies]
        self.copying = [tier for tier in ordered if tier.has_copies]
        if not dormant:
            self._check_copying()

    def _check_copying(self) -> None:
        """Return if every tier for copies has a tier to copy from."""
        if not self.keeping:
            raise ConfigError(
                "a MultiConnector", "all its tiers have copies_ttl: none keeps objects"
            )
        lowest = self.keeping[-1]
        for tier in self.copying:
            if tier.policy.priority <= lowest.policy.priority:
                raise ConfigError(
                    f"copies_ttl of tier {tier.name!r}",
                    f"it copies from tiers of lower priority than its own, which is "
                    f"{tier.policy.priority}, and there is none",
                )

    def config(self) -> dict[str, Any]:
        """Of every tier, by name."""
        return {**{name: tier.config() for name, tier in self.active.items()}, **self._dormant}

    def store(self, key: MultiKey, wish: Wish) -> MultiKey:
        """The key of an object, stored in the first tier that takes it.

        Args:
            key: Has its logical id, and names the one tier that comes into
                question, if any.
            wish: What to store.
        """
        refusals = {tier: tier.refusal(*wish) for tier in self.active.values()}
        reasons = [(tier.name, reason) for tier, reason in refusals.items() if reason is not None]
        admitted = (tier for tier, reason in refusals.items() if reason is None)
        failure: Exception | None = None
        for tier in sorted(admitted, key=lambda tier: tier.is_resting):
            if key.tier not in {"", tier.name}:
                continue
            try:
                fields = tier.store(key.object_id, key.tier_key, wish.payload, wish.ttl)
                return MultiKey(key.object_id, tier.name, fields)
            except MediumFullError as exc:
                failure = exc
            except _UNUSABLE as exc:
                tier.rest()
                failure = exc
            reasons.append((tier.name, str(failure)))
        raise MultiConnectorError(str(wish), reasons) from failure

    def store_together(self, wishes: Sequence[Wish]) -> list[MultiKey]:
        """Keys of objects that one batch stored; none if no one tier is for all, or it failed."""
        firsts = {self._first(wish) for wish in wishes}
        tier = firsts.pop() if len(firsts) == 1 else None
        if tier is None:
            return []
        try:
            fields = tier.store_batch([wish.payload for wish in wishes], wishes[0].ttl)
        except MediumFullError:
            return []
        except _UNUSABLE:
            tier.rest()
            return []
        return [MultiKey(fresh_id(), tier.name, each) for each in fields]

    def _first(self, wish: Wish) -> Tier | None:
        admitted = [tier for tier in self.keeping if tier.refusal(*wish) is None]
        return min(admitted, key=lambda tier: tier.is_resting, default=None)

    def find(self, asked: str, key: MultiKey, look: Callable[[Tier, Key], T], *, absent: T) -> T:
        """What the first tier that has the object answers; ``absent`` if none has it."""
        failure: Exception | None = None
        reasons = self._why_dormant(key)
        for tier in self._holders(key):
            try:
                found = look(tier, _own_key(tier, key))
            except _UNUSABLE as exc:
                tier.rest()
                failure = exc
                reasons.append((tier.name, str(exc)))
                continue
            # What the tier that took the object does not have was evicted.
            if found is not absent or tier.name == key.tier:
                return found
        if reasons:
            raise MultiConnectorError(f"{asked} of {key!r}", reasons) from failure
        return absent

    def get(self, key: MultiKey) -> Found | None:
        """The object, from the first tier that has it."""
        return self.find("get", key, _get, absent=None)

    def get_batch(self, name: str, keys: Sequence[MultiKey]) -> list[Found | None]:
        """Objects of keys that all name tier ``name``."""
        tier = self.active.get(name)
        if tier is not None and len(keys) > 1:
            # One by one below: each may have a copy elsewhere, or none.
            with suppress(*_UNUSABLE):
                found = tier.connector.get_batch([_own_key(tier, key) for key in keys])
                return [None if data is None else Found(tier, data) for data in found]
        return [self.get(key) for key in keys]

    def any_has(self, key: MultiKey) -> bool:
        """Whether a tier that can be asked has the object."""
        for tier in self._holders(key):
            # A tier that cannot be asked does not keep the others from being used.
            with suppress(*_UNUSABLE):
                if tier.connector.exists(_own_key(tier, key)):
                    return True
        return False

    def evict(self, key: MultiKey) -> None:
        """Remove the object from the tier that is named, then from others that keep its id.

        If the former fails the latter are left alone.
        """
        reasons = self._why_dormant(key)
        for tier in self._holders(key) if not reasons else ():
            try:
                tier.connector.evict(_own_key(tier, key))
            except _UNUSABLE as exc:
                tier.rest()
                if key.tier in {"", tier.name}:
                    reasons.append((tier.name, str(exc)))
                if key.tier == tier.name:
                    break
        if reasons:
            raise MultiConnectorError(f"evict of {key!r}", reasons)

    def _holders(self, key: MultiKey) -> list[Tier]:
        """Tiers that may have the object: the one that is named, then all that keep its id."""
        others = [tier for tier in self.keeping if tier.takes_ids and tier.name != key.tier]
        named = self.active.get(key.tier)
        return others if named is None else [named, *others]

    def truths(self, key: MultiKey) -> list[Tier]:
        """Tiers that take the object: the one that is named, or all that keep new ids.

        None, if the one that is named is not open here.
        """
        if not key.tier:
            return self._holders(key)
        return [self.active[key.tier]] if key.tier in self.active else []

    def _why_dormant(self, key: MultiKey) -> list[tuple[str, str]]:
        if key.tier not in self._dormant:
            return []
        wanted = self._dormant[key.tier].get("policy", {}).get("host_pattern")
        reason = f"it is only for hosts that match {wanted!r}, and this is {os.uname().nodename}"
        return [(key.tier, reason)]


def _own_key(tier: Tier, key: MultiKey) -> Key:
    return tier.key(key.object_id, key.tier_key if tier.name == key.tier else ())


def _get(tier: Tier, own: Key) -> Found | None:
    data = tier.connector.get(own)
    return None if data is None else Found(tier, data)
