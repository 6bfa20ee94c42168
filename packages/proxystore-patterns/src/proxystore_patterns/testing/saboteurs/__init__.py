"""Brokers that each break one rule, to prove that the conformance kit sees it.

A saboteur stands in front of a broker: ``SABOTEURS["DropsAnEvent"](broker)`` is that broker,
but one message of it gets lost, and the contract test that `caught_by` names must fail on it.
"""

from __future__ import annotations

from proxystore_patterns.testing.saboteurs import _ends, _groups, _messages
from proxystore_patterns.testing.saboteurs._front import Saboteur

__all__ = ["SABOTEURS", "Saboteur"]

SABOTEURS: dict[str, type[Saboteur]] = {
    name: getattr(module, name) for module in (_messages, _ends, _groups) for name in module.__all__
}
"""Every saboteur by name."""
