"""Copies of objects, in the tiers of a `MultiConnector` that are for them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from proxystore.abc import Capability, Key
from proxystore.connectors._routing import Found, MultiKey, Routes, Wish
from proxystore.connectors._tiers import Tier
from proxystore.errors import (
    KeyAlreadySetError,
    MediumFullError,
    MultiConnectorError,
    ProxyStoreError,
)
from proxystore.host.forks import remake_in_child
from proxystore.payload import Payload, payload_nbytes

__all__ = ["Copies"]

_REPLACEABLE = frozenset({Capability.REPLACEABLE})
_CHANGING = frozenset({Capability.REPLACEABLE, Capability.LEASABLE})


class _Edition(NamedTuple):
    """What a copy is a copy of."""

    object_id: str
    tier: str = ""
    """Whose generation it is; empty if its objects have none."""
    generation: int = 0

    @property
    def copy_id(self) -> str:
        """Under which a tier has the copy, so that nobody finds one of an older generation."""
        text = "\0".join(map(str, self)).encode()
        return base64.urlsafe_b64encode(hashlib.blake2b(text, digest_size=18).digest()).decode()


class Copies:
    """Finds, makes and drops copies. Takes keys that were checked. Thread safe.

    A tier of copies never makes an operation fail: it rests, as tiers do.

    Args:
        routes: Where the objects are, and the tiers for their copies.
    """

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        # By edition, who copies it now: one attempt at a time, for which nobody waits.
        self._under_way: dict[_Edition, object] = {}
        remake_in_child(self)

    def remade_in_child(self) -> None:
        """Forget what other threads of the parent were copying when it forked."""
        self._under_way = {}

    def get(self, key: MultiKey) -> Found | None:
        """As `get_batch`, of one object."""
        if self._routes.copying:
            return self.get_batch(key.tier, [key])[0]
        return self._routes.get(key)

    def get_batch(self, name: str, keys: Sequence[MultiKey]) -> list[Found | None]:
        """As `Routes.get_batch`, from copies where there are some, and copying what is read.

        Raises:
            MultiConnectorError: An object is in no tier that could be asked, and has no
                copy that is sure to hold.
        """
        tiers = self._for_keys_of(name)
        if not tiers:
            return self._routes.get_batch(name, keys)
        editions = [self._edition("get", key, asking_if=_CHANGING) for key in keys]
        found = _look_up(tiers, editions)
        rest = [at for at, each in enumerate(editions) if each is not None and found[at] is None]
        for at, kept in zip(
            rest, self._routes.get_batch(name, [keys[at] for at in rest]), strict=True
        ):
            found[at] = kept
        for key, edition, each in zip(keys, editions, found, strict=True):
            if edition is not None and each is not None:
                self._promote(key, edition, each)
        return found

    def write_through(self, key: MultiKey, wish: Wish) -> None:
        """Copy an object that was put, whose key nobody else has yet."""
        tiers = [
            tier
            for tier in self._for_keys_of(key.tier)
            if tier.policy.write_through
            and _takes(tier, wish.payload, wish.subset_tags, wish.superset_tags)
        ]
        edition = self.edition(key) if tiers else None
        if edition is not None:
            for tier in tiers:
                _copy(tier, edition, wish.payload, wish.ttl)

    def edition(self, key: MultiKey) -> _Edition | None:
        """What to `drop` when the object has gone; `None` if it has no copy that can be found."""
        if self._routes.copying:
            # Whoever cannot be asked now fails in what comes next.
            with suppress(MultiConnectorError):
                return self._edition("generation", key, asking_if=_REPLACEABLE)
        return None

    def drop(self, edition: _Edition | None) -> None:
        """Remove the copies of what an object was.

        One in a tier that cannot be asked ends with its lease.
        """
        if edition is not None:
            for tier in self._routes.copying:
                # Nobody asks for a generation that is gone, so it is worth no timeout.
                if not edition.tier or not tier.is_resting:
                    _drop(tier, edition)

    def _for_keys_of(self, name: str) -> list[Tier]:
        """Tiers that may have copies of what is in tier ``name``, and can be asked."""
        kept = self._routes.active.get(name)
        return [
            tier
            for tier in self._routes.copying
            if not tier.is_resting and (kept is None or _is_above(tier, kept))
        ]

    def _edition(
        self, asked: str, key: MultiKey, *, asking_if: frozenset[Capability]
    ) -> _Edition | None:
        """What an object is now, `None` if it is gone.

        Costs a question to its tier, if that has one of the capabilities ``asking_if``.
        """
        truths = self._routes.truths(key)
        if truths and not any(tier.capabilities & asking_if for tier in truths):
            return _Edition(key.object_id)
        return self._present_edition(asked, key)

    def _present_edition(self, asked: str, key: MultiKey) -> _Edition | None:
        def look(tier: Tier, own: Key) -> _Edition | None:
            if Capability.REPLACEABLE in tier.capabilities:
                generation = tier.connector.generation(own)
                if generation is not None:
                    return _Edition(key.object_id, tier.name, generation)
                return None
            return _Edition(key.object_id) if tier.connector.exists(own) else None

        return self._routes.find(asked, key, look, absent=None)

    def _promote(self, key: MultiKey, edition: _Edition, found: Found) -> None:
        """Copy into the tiers above the one where an object was found."""
        policy = found.tier.policy
        tiers = [
            tier
            for tier in self._routes.copying
            if _is_above(tier, found.tier)
            # The key does not say how its object was tagged, but its tier what all are.
            and _takes(tier, found.data, policy.subset_tags, policy.superset_tags)
        ]
        # Of what another tier than was asked had, nobody knows the generation: a failed
        # write may have left it.
        is_certain = found.tier.has_copies or edition.tier in {"", found.tier.name}
        if not tiers or not is_certain:
            return
        mine = object()
        try:
            if self._under_way.setdefault(edition, mine) is mine:
                self._copy_into(tiers, key, edition, found)
        finally:
            if self._under_way.get(edition) is mine:
                del self._under_way[edition]

    def _copy_into(
        self, tiers: Sequence[Tier], key: MultiKey, edition: _Edition, found: Found
    ) -> None:
        copied = [tier for tier in tiers if _copy(tier, edition, found.data, None)]
        if not copied:
            return
        # Whoever evicted the object since it was read has looked for copies already.
        with suppress(MultiConnectorError):
            if self._present_edition("exists", key) == edition:
                return
        for tier in copied:
            _drop(tier, edition)


def _is_above(tier: Tier, other: Tier) -> bool:
    return tier.policy.priority > other.policy.priority


def _takes(tier: Tier, payload: Payload, subset: Iterable[str], superset: Iterable[str]) -> bool:
    if tier.is_resting or tier.is_full:
        return False
    return tier.policy.refusal(payload_nbytes(payload), subset, superset) is None


def _look_up(tiers: Sequence[Tier], editions: Sequence[_Edition | None]) -> list[Found | None]:
    found: list[Found | None] = [None] * len(editions)
    for tier in tiers:
        wanted = {
            at: edition.copy_id
            for at, edition in enumerate(editions)
            if edition is not None and found[at] is None
        }
        try:
            own = [tier.key(copy_id, ()) for copy_id in wanted.values()]
            copies = tier.connector.get_batch(own)
        except ProxyStoreError:
            tier.rest()
            continue
        for at, data in zip(wanted, copies, strict=True):
            found[at] = None if data is None else Found(tier, data)
    return found


def _copy(tier: Tier, edition: _Edition, payload: Payload, ttl: float | None) -> bool:
    """Whether this call made a copy."""
    lease = min(filter(None, (tier.policy.copies_ttl, ttl)))
    try:
        own = tier.key(edition.copy_id, ())
        # Another thread may have copied it since this one looked; set() would write it all first.
        if not tier.connector.exists(own):
            tier.connector.set(own, payload, ttl=lease)
            return True
    except KeyAlreadySetError:
        pass
    except MediumFullError:
        tier.fill()
    except ProxyStoreError:
        tier.rest()
    return False


def _drop(tier: Tier, edition: _Edition) -> None:
    try:
        tier.connector.evict(tier.key(edition.copy_id, ()))
    except ProxyStoreError:
        tier.rest()
