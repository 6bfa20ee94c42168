"""What the suites call: a connector with every capability, as a type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from proxystore.abc import (
    Async,
    Connector,
    Deferrable,
    Key,
    Leasable,
    Ranged,
    Replaceable,
    Waitable,
)
from proxystore.payload import Payload

__all__ = ["Subject"]


class Subject(
    Leasable[Any],
    Deferrable[Any],
    Replaceable[Any],
    Waitable[Any],
    Ranged[Any],
    Async[Any],
    Connector[Any],
    Protocol,
):
    """A connector under test. A test calls only the capabilities that it requires."""

    def put(self, payload: Payload, *, ttl: float | None = None) -> Key:
        """As `Leasable.put`."""
        ...

    def put_batch(self, payloads: Sequence[Payload], *, ttl: float | None = None) -> list[Key]:
        """As `Connector.put_batch`."""
        ...

    def set(self, key: Key, payload: Payload, *, ttl: float | None = None) -> None:
        """As `Deferrable.set`."""
        ...
