"""What holds for keys, claims and configs."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Iterator
from typing import Any

from proxystore.abc import Acknowledgement, Capability, Key, Medium, capabilities_of
from proxystore.errors import InvalidKeyError
from proxystore.testing._claims import Suite
from proxystore.testing._objects import read
from proxystore.testing._subject import Subject

__all__ = ["ClaimContract", "ConfigContract", "KeyContract", "MediumContract"]


class KeyContract(Suite):
    """Keys are plain named tuples that can go anywhere and reach only their own object."""

    def test_a_key_is_its_key_type_rebuilt(self, connector: Subject) -> None:
        key = connector.put(b"x")
        rebuilt = connector.key_type(*tuple(key))
        assert isinstance(key, connector.key_type)
        assert hasattr(key, "_fields"), "a key must be a NamedTuple"
        assert key == rebuilt
        assert hash(key) == hash(rebuilt)
        assert b"x" == read(connector, rebuilt)

    def test_a_key_is_equal_after_pickling(self, connector: Subject) -> None:
        key = connector.put(b"x")
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            copied = pickle.loads(pickle.dumps(key, protocol))
            assert key == copied
            assert hash(key) == hash(copied)
        assert b"x" == read(connector, copied)

    def test_a_malformed_key_reaches_nothing(self, connector: Subject) -> None:
        key = connector.put(b"secret")
        for bad in _malformed(key, connector.key_type):
            for name in ("get", "exists", "evict"):
                try:
                    answer = getattr(connector, name)(bad)
                except InvalidKeyError:
                    continue
                assert answer in (None, False), f"{name}({bad!r}) answered {answer!r}"
        assert b"secret" == read(connector, key)


# Any: a key_type takes the fields of its own keys.
def _malformed(key: Key, key_type: Any) -> Iterator[Key]:
    for index, field in enumerate(key):
        if not isinstance(field, str):
            continue
        around = ("./{}", "../{}", "x/../{}", "{}/", "/{}", "{}\x00", "{}*")
        foreign = ("..", "*", "/etc/hostname", "\x00", "\u00e9", "x" * 5000, 7, None)
        for bad in (*(shape.format(field) for shape in around), *foreign):
            yield key_type(*key[:index], bad, *key[index + 1 :])


def _listed(capabilities: Iterable[Capability]) -> str:
    return ", ".join(sorted(str(capability) for capability in capabilities))


def _difference(claimed: frozenset[Capability], reported: frozenset[Capability]) -> str:
    """What is only claimed by the test class and only reported by the connector; empty if equal."""
    found = []
    if claimed - reported:
        found.append(f"claims {_listed(claimed - reported)}, which connector.capabilities lacks")
    if reported - claimed:
        found.append(f"lacks {_listed(reported - claimed)}, which connector.capabilities reports")
    return "; and it ".join(found)


class ClaimContract(Suite):
    """A connector is what its contract class and it itself say that it is."""

    def test_capabilities_are_exactly_those_claimed(self, connector: Subject) -> None:
        difference = _difference(self.capabilities, connector.capabilities)
        assert not difference, f"{type(self).__name__}.capabilities {difference}"
        assert isinstance(connector.capabilities, frozenset)

    def test_each_claimed_capability_has_its_methods(self, connector: Subject) -> None:
        lacking = _listed(self.capabilities - capabilities_of(connector))
        assert not lacking, (
            f"{type(self).__name__}.capabilities claims {lacking}, for which "
            f"{type(connector).__name__} lacks methods."
        )

    def test_capabilities_stay_the_same(self, connector: Subject) -> None:
        before = connector.capabilities
        connector.put(b"x")
        assert before == connector.capabilities
        assert before == self.another(connector).capabilities

    def test_medium_and_acknowledgement_are_stated(self, connector: Subject) -> None:
        assert isinstance(connector.medium, Medium)
        assert isinstance(connector.acknowledges, Acknowledgement)

    def test_objects_for_other_processes_are_not_in_the_memory_of_one(
        self, connector: Subject
    ) -> None:
        if Capability.CROSS_PROCESS in self.capabilities:
            assert connector.medium is not Medium.PROCESS

    def test_no_method_under_a_sync_name_gives_a_coroutine(self, connector: Subject) -> None:
        key = connector.put(b"x")
        for name in ("exists", "get", "evict"):
            assert not hasattr(getattr(connector, name)(key), "__await__"), name
        assert not hasattr(key, "__await__")


class ConfigContract(Suite):
    """A config says everything that another connector to the same medium needs."""

    def test_config_is_plain_and_survives_json(self, connector: Subject) -> None:
        config = connector.config()
        assert config == json.loads(json.dumps(config))

    def test_a_rebuilt_connector_has_an_equal_config(self, connector: Subject) -> None:
        assert connector.config() == self.another(connector).config()

    def test_a_rebuilt_connector_has_the_same_objects(self, connector: Subject) -> None:
        key = connector.put(b"from the first")
        with self.another(connector) as other:
            assert b"from the first" == read(other, key)
            assert b"from the other" == read(connector, other.put(b"from the other"))
            other.evict(key)
        assert connector.exists(key) is False


class MediumContract(Suite):
    """The medium, seen without the connector. Runs where ``stored_bytes`` is overridden."""

    needs = frozenset({"stored_bytes"})

    def test_the_medium_holds_the_bytes_that_were_put(self, connector: Subject) -> None:
        assert b"as they are" == self.stored_bytes(connector, connector.put(b"as they are"))

    def test_evict_takes_the_bytes_out_of_the_medium(self, connector: Subject) -> None:
        key = connector.put(b"for a while")
        connector.evict(key)
        assert self.stored_bytes(connector, key) is None
