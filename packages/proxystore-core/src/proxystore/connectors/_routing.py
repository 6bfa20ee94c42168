"""Which tiers of a `MultiConnector` are asked, in which order, and what their failures mean."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from proxystore.abc import Key
from proxystore.connectors._tiers import Tier
from proxystore.errors import (
    ConfigError,
    ConnectorUnavailableError,
    MediumFullError,
    MultiConnectorError,
    ObjectOnOtherHostError,
)
from proxystore.payload import BytesLike, Payload, payload_nbytes

__all__ = ["MultiKey", "Routes", "Wish"]

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


class Routes:
    """The tiers, by descending priority. Takes keys that were checked.

    Args:
        tiers: Those that are open here.
        dormant: Configs of those that are not for this host.

    Raises:
        ConfigError: There is no tier, or a name is empty or given twice.
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

    def config(self) -> dict[str, Any]:
        """Of every tier, by name."""
        return {**{name: tier.config() for name, tier in self.active.items()}, **self._dormant}

    def store(self, object_id: str, wish: Wish, *, only: str = "") -> tuple[str, str, Key]:
        """Fields of the key of an object, stored in the first tier that takes it.

        Args:
            object_id: Logical id.
            wish: What to store.
            only: The one tier that comes into question, if not empty.
        """
        refusals = {tier: tier.refusal(*wish) for tier in self.active.values()}
        reasons = [(tier.name, reason) for tier, reason in refusals.items() if reason is not None]
        admitted = (tier for tier, reason in refusals.items() if reason is None)
        failure: Exception | None = None
        for tier in sorted(admitted, key=lambda tier: tier.is_resting):
            if only not in {"", tier.name}:
                continue
            try:
                return object_id, tier.name, tier.store(object_id, wish.payload, wish.ttl)
            except MediumFullError as exc:
                failure = exc
            except _UNUSABLE as exc:
                tier.rest()
                failure = exc
            reasons.append((tier.name, str(failure)))
        raise MultiConnectorError(str(wish), reasons) from failure

    def find(self, asked: str, key: MultiKey, look: Callable[[Any, Key], T], *, absent: T) -> T:
        """What the first tier that has the object answers; ``absent`` if none has it."""
        failure: Exception | None = None
        reasons = self._why_dormant(key)
        for tier in self._holders(key):
            try:
                found = look(tier.connector, tier.key(key.object_id, key.tier_key))
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

    def get_batch(self, name: str, keys: Sequence[MultiKey]) -> list[BytesLike | None]:
        """Objects of keys that all name tier ``name``."""
        tier = self.active.get(name)
        if tier is not None:
            # One by one below: each may have a copy elsewhere, or none.
            with suppress(*_UNUSABLE):
                own = [tier.key(key.object_id, key.tier_key) for key in keys]
                return tier.connector.get_batch(own)
        return [self.find("get", key, lambda each, own: each.get(own), absent=None) for key in keys]

    def any_has(self, key: MultiKey) -> bool:
        """Whether a tier that can be asked has the object."""
        for tier in self._holders(key):
            # A tier that cannot be asked does not keep the others from being used.
            with suppress(*_UNUSABLE):
                if tier.connector.exists(tier.key(key.object_id, key.tier_key)):
                    return True
        return False

    def evict(self, key: MultiKey) -> None:
        """Remove the object from every tier that may have a copy; then raise, if any failed."""
        reasons = self._why_dormant(key)
        for tier in self._holders(key):
            try:
                tier.connector.evict(tier.key(key.object_id, key.tier_key))
            except _UNUSABLE as exc:
                tier.rest()
                if key.tier in {"", tier.name}:
                    reasons.append((tier.name, str(exc)))
        if reasons:
            raise MultiConnectorError(f"evict of {key!r}", reasons)

    def _holders(self, key: MultiKey) -> list[Tier]:
        """Tiers that may have the object: the one that is named, then all that take its id."""
        tiers = self.active.values()
        others = [tier for tier in tiers if tier.takes_ids and tier.name != key.tier]
        return [tier for tier in tiers if tier.name == key.tier] + others

    def _why_dormant(self, key: MultiKey) -> list[tuple[str, str]]:
        if key.tier not in self._dormant:
            return []
        wanted = self._dormant[key.tier].get("policy", {}).get("host_pattern")
        reason = f"it is only for hosts that match {wanted!r}, and this is {os.uname().nodename}"
        return [(key.tier, reason)]
