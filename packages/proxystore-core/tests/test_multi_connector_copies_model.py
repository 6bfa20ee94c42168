"""A `MultiConnector` with copies against a dict, while its tiers fail at will."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from proxystore.abc import Capability
from proxystore.connectors.multi import MultiConnector, MultiKey, Policy
from proxystore.errors import (
    ConnectorUnavailableError,
    KeyAlreadySetError,
    KeyNotSetError,
    MediumFullError,
    MultiConnectorError,
)
from proxystore.testing import MemoryConnector

DOWN = ConnectorUnavailableError("a tier", "it is down", "Start it.")
FULL = MediumFullError("a tier", 1, "Free some.")


class Saboteur(MemoryConnector):
    """Fails whenever it is told to: when `DOWN` all calls, when `FULL` those that store."""

    fault: Exception | None = None

    def _opened(self) -> Any:
        if isinstance(self.fault, ConnectorUnavailableError):
            raise self.fault
        return super()._opened()

    def set(self, key: Any, payload: Any, *, ttl: float | None = None) -> None:
        if self.fault is not None:
            raise self.fault
        super().set(key, payload, ttl=ttl)

    @property
    def leases(self) -> list[float | None]:
        return [entry.expires for entry in self._medium.entries.values()]


class FixedSaboteur(Saboteur):
    """Its objects are neither replaced nor end by themselves."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities - {Capability.REPLACEABLE, Capability.LEASABLE}


class TwoTiersAndCopies(RuleBasedStateMachine):
    """Against a dict: what each key may give. Only a tier that failed leaves a choice."""

    keys = Bundle("keys")
    make_far: type[Saboteur]

    @initialize(through=st.booleans())
    def open(self, through: bool) -> None:
        self.near, self.far, self.spill = Saboteur(), self.make_far(), self.make_far()
        self.policy = Policy(2, min_size_bytes=1, copies_ttl=600, write_through=through)
        self.time_passes()
        self.model: dict[MultiKey, set[bytes | None]] = {}

    @property
    def can_replace(self) -> bool:
        return Capability.REPLACEABLE in self.multi.capabilities

    @rule(target=keys, data=st.binary(max_size=9))
    def put(self, data: bytes) -> MultiKey:
        key = self.multi.put(data)
        self.model[key] = {data}
        return key

    @rule(target=keys, batch=st.lists(st.binary(max_size=9), max_size=3))
    def put_batch(self, batch: list[bytes]) -> Any:
        keys = self.multi.put_batch(batch)
        self.model.update(zip(keys, ({data} for data in batch), strict=True))
        return multiple(*keys)

    @rule(target=keys)
    def new_key(self) -> MultiKey:
        key = self.multi.new_key()
        self.model[key] = {None}
        return key

    @rule(key=keys, data=st.binary(max_size=9))
    def set(self, key: MultiKey, data: bytes) -> None:
        # That it is set once holds only while its tier can be asked.
        if self.far.fault or len(self.model[key]) > 1:
            return
        (present,) = self.model[key]
        try:
            self.multi.set(key, data)
        except KeyAlreadySetError:
            assert present is not None
        except MultiConnectorError:
            assert key.tier
            assert len(data) > 6
        else:
            assert present is None
            self.model[key] = {data}

    @rule()
    def get(self) -> None:
        for key, allowed in self.model.items():
            try:
                assert self.multi.get(key) in allowed
            except MultiConnectorError:
                assert self.far.fault

    @rule(batch=st.lists(keys, max_size=4))
    def get_batch(self, batch: list[MultiKey]) -> None:
        try:
            found = self.multi.get_batch(batch)
        except MultiConnectorError:
            assert self.far.fault
        else:
            assert all(data in self.model[key] for key, data in zip(batch, found, strict=True))

    @rule(key=keys)
    def exists(self, key: MultiKey) -> None:
        try:
            found = self.multi.exists(key)
        except MultiConnectorError:
            assert self.far.fault
        else:
            assert found in {data is not None for data in self.model[key]}

    @rule(key=keys)
    def evict(self, key: MultiKey) -> None:
        try:
            self.multi.evict(key)
        except MultiConnectorError:
            assert self.far.fault
            # One of the tiers that could have it was asked, and did as it was told.
            if not key.tier:
                self.model[key] |= {None}
            return
        if self.can_replace or not isinstance(self.near.fault, ConnectorUnavailableError):
            self.model[key] = {None}
        else:
            self.model[key] |= {None}

    @precondition(lambda self: self.can_replace)
    @rule(key=keys, data=st.binary(max_size=9))
    def replace(self, key: MultiKey, data: bytes) -> None:
        try:
            self.multi.replace(key, data)
        except KeyNotSetError:
            assert None in self.model[key]
        except MultiConnectorError:
            assert self.far.fault
        else:
            self.model[key] = {data}

    @rule(fault=st.sampled_from([None, None, DOWN, FULL]))
    def near_becomes(self, fault: Exception | None) -> None:
        self.near.fault = fault
        self.time_passes()

    @rule(fault=st.sampled_from([None, None, DOWN]))
    def far_becomes(self, fault: Exception | None) -> None:
        self.far.fault = fault
        self.time_passes()

    def time_passes(self) -> None:
        """No tier rests any more."""
        self.multi = MultiConnector({
            "near": (self.near, self.policy),
            "far": (self.far, Policy(1, max_size_bytes=6)),
            "spill": (self.spill, Policy(0)),
        })

    @invariant()
    def every_copy_is_leased(self) -> None:
        assert None not in self.near.leases


class OverReplaceableTiers(TwoTiersAndCopies):
    make_far = Saboteur


class OverFixedTiers(TwoTiersAndCopies):
    make_far = FixedSaboteur


@pytest.mark.slow
@pytest.mark.parametrize("machine", [OverReplaceableTiers, OverFixedTiers])
def test_any_order_of_calls_gives_what_a_dict_would(machine: type[TwoTiersAndCopies]) -> None:
    run_state_machine_as_test(
        machine, settings=settings(max_examples=200, stateful_step_count=25, deadline=None)
    )
