"""How a saboteur gets on top of a connector."""

from __future__ import annotations

import copyreg
from typing import TYPE_CHECKING, Any, ClassVar

from proxystore.abc import Capability, Connector
from proxystore.testing._memory import MemoryConnector

__all__ = ["Saboteur", "sabotage"]

# A mixin for connectors of any class, which only type checkers need to see under it.
if TYPE_CHECKING:
    _Below = MemoryConnector
    _ConnectorType = type
else:
    _Below = object
    _ConnectorType = type(Connector)


class Saboteur(_Below):
    """Breaks one rule of the contract, whatever connector is below it.

    Its docstring names the rule.
    """

    caught_by: ClassVar[str]
    """Name of the contract test that must fail."""

    needs: ClassVar[frozenset[Capability]] = frozenset()
    """What the connector below must be able to do for the rule to exist."""

    @property
    def notes(self) -> dict[Any, Any]:
        """What this saboteur remembers, made on first use: `from_config` may skip ``__init__``."""
        notes: dict[Any, Any] = self.__dict__.setdefault("_saboteurs_notes", {})
        return notes


class _SabotagedType(_ConnectorType):
    """Class of connectors that were made by `sabotage`."""

    made_from: tuple[type[Any], type[Saboteur]]


def sabotage(connector_type: type[Any], saboteur: type[Saboteur]) -> type[Any]:
    """A subclass of ``connector_type`` that breaks the rule of ``saboteur``.

    It pickles by what it was made from, so that other processes can have it too.
    """
    name = f"{saboteur.__name__}{connector_type.__name__}"
    broken = _SabotagedType(name, (saboteur, connector_type), {})
    broken.made_from = (connector_type, saboteur)
    return broken


def _reduce(broken: Any) -> tuple[Any, ...]:
    return sabotage, broken.made_from


copyreg.pickle(_SabotagedType, _reduce)
