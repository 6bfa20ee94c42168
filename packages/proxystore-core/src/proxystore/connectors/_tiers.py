"""One tier of a `MultiConnector`: a connector, its policy, and how keys get there."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from proxystore.abc import Capability, Connector, Key
from proxystore.connectors._adapted import AdaptedConnector
from proxystore.connectors._policy import Policy
from proxystore.connectors.load import adapt, connector_from_config, kind_of
from proxystore.connectors.options import check_options
from proxystore.errors import ConfigError, InvalidKeyError, NotOwnerError
from proxystore.payload import Payload, payload_nbytes

__all__ = ["Tier"]

_REST_SECONDS = 1.0


class Tier:
    """A connector by name, with the policy that says what it takes.

    Args:
        name: Of the tier, in keys and configs.
        connector: Belongs to the tier from now on.
        policy: What it takes.

    Raises:
        ConfigError: It is for copies, and the connector cannot lease objects by their id.
    """

    def __init__(self, name: str, connector: Connector[Any], policy: Policy) -> None:
        self.name, self.policy = name, policy
        # Any: it has the methods that its capabilities say.
        self.connector: Any = connector
        self.capabilities = connector.capabilities
        deferrable = Capability.DEFERRABLE in self.capabilities
        # An adapted connector of the older system chooses its new keys itself.
        self.takes_ids = deferrable and not isinstance(connector, AdaptedConnector)
        """Whether the object with a logical id is found without knowing more."""
        self.has_copies = policy.copies_ttl is not None
        """Whether it has copies of objects in other tiers, and no object of its own."""
        self._rests_until = self._full_until = 0.0
        if self.has_copies and not (self.takes_ids and Capability.LEASABLE in self.capabilities):
            raise ConfigError(
                f"copies_ttl of tier {name!r}",
                f"copies need a connector that is Deferrable and Leasable, which {connector!r} "
                f"is not",
            )

    # Any: options are the connector's own.
    @classmethod
    def from_config(cls, name: str, config: Mapping[str, Any]) -> Tier:
        """The tier of which `config` gave ``config``, whose medium it does not own."""
        check_options("multi (tier)", config, ("kind", "options", "policy"))
        if "kind" not in config:
            raise ConfigError(f"tier {name!r} of a MultiConnector", "it names no kind of connector")
        connector = connector_from_config(config["kind"], config.get("options", {}))
        policy = Policy.from_dict(config.get("policy", {}))
        return cls(name, adapt(connector, owns=False), policy)

    def config(self) -> dict[str, Any]:
        """What `from_config` rebuilds the tier from; only what differs from the defaults."""
        config: dict[str, Any] = {"kind": kind_of(self.connector)}
        if options := self.connector.config():
            config["options"] = options
        if policy := self.policy.as_dict(defaults=False):
            config["policy"] = policy
        return config

    def key(self, object_id: str, tier_key: Key) -> Key:
        """The connector's own key of an object.

        Args:
            object_id: Logical id of the object.
            tier_key: Fields of the key where it does not follow from the id.

        Raises:
            InvalidKeyError: ``tier_key`` is not one of the connector's.
        """
        if self.takes_ids and not tier_key:
            key: Key = self.connector.new_key(object_id)
            return key
        if isinstance(self.connector, AdaptedConnector):
            return tier_key
        try:
            rebuilt: Key = self.connector.key_type(*tier_key)
        except TypeError as exc:
            expected = f"the fields of a {self.connector.key_type.__name__}"
            raise InvalidKeyError(repr(tier_key), expected) from exc
        return rebuilt

    def store(self, object_id: str, tier_key: Key, payload: Payload, ttl: float | None) -> Key:
        """Store an object; what to give `key` beside ``object_id`` to find it."""
        if self.takes_ids:
            own = self.key(object_id, tier_key)
            self.connector.set(own, payload, **_leased(ttl))
            return tier_key
        return self._fields(self.connector.put(payload, **_leased(ttl)))

    def store_batch(self, payloads: Sequence[Payload], ttl: float | None) -> list[Key]:
        """As `store`, of objects whose keys the connector chooses, in one batch."""
        return [self._fields(key) for key in self.connector.put_batch(payloads, **_leased(ttl))]

    def _fields(self, key: Key) -> Key:
        return key if isinstance(self.connector, AdaptedConnector) else tuple(key)

    def refusal(
        self,
        payload: Payload,
        subset_tags: frozenset[str],
        superset_tags: frozenset[str],
        ttl: float | None,
    ) -> str | None:
        """Why a payload does not belong here, a clause; `None` if it does."""
        if self.has_copies:
            return "has only copies of objects in other tiers"
        if ttl is not None and Capability.LEASABLE not in self.capabilities:
            return "has no time to live for its objects"
        return self.policy.refusal(payload_nbytes(payload), subset_tags, superset_tags)

    def rest(self) -> None:
        """Have others tried first for a second: this one failed, perhaps by a timeout."""
        self._rests_until = time.monotonic() + _REST_SECONDS

    @property
    def is_resting(self) -> bool:
        """Whether it failed less than a second ago."""
        return time.monotonic() < self._rests_until

    def fill(self) -> None:
        """Have no copies put here for a second: there was no room, and writing took time."""
        self._full_until = time.monotonic() + _REST_SECONDS

    @property
    def is_full(self) -> bool:
        """Whether there was no room for a copy less than a second ago."""
        return time.monotonic() < self._full_until

    def close(self, *, clear: bool | None) -> None:
        """As `Connector.close`; what the connector holds is released in any case."""
        try:
            self.connector.close(clear=clear)
        except NotOwnerError:
            self.connector.close(clear=False)
            raise


# Any: put and set of any connector take it.
def _leased(ttl: float | None) -> dict[str, Any]:
    # Connectors that are not Leasable do not know the option.
    return {} if ttl is None else {"ttl": ttl}
