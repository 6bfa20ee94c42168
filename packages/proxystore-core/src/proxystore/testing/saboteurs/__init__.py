"""Connectors that each break one rule, to prove that the conformance kit sees it.

A saboteur is a mixin: ``sabotage(FileConnector, AliasedBuffer)`` is a
`FileConnector` whose `put` keeps the caller's buffer, and the contract test
that `AliasedBuffer.caught_by` names must fail on it.
"""

from __future__ import annotations

from proxystore.testing.saboteurs import _capabilities, _lifecycle, _objects
from proxystore.testing.saboteurs._base import Saboteur, sabotage

__all__ = ["SABOTEURS", "Saboteur", "sabotage"]

SABOTEURS: dict[str, type[Saboteur]] = {
    name: found
    for module in (_objects, _lifecycle, _capabilities)
    for name, found in vars(module).items()
    if isinstance(found, type) and issubclass(found, Saboteur) and "caught_by" in vars(found)
}
"""Every saboteur by name."""
