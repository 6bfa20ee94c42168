"""How a store is named in other processes: its address, name and options."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from proxystore.errors import ConfigError
from proxystore.store.types import Address

__all__ = ["Referring", "StoreReference", "address_key", "identity_of"]


class StoreReference(NamedTuple):
    """Enough to open a store in any process that can reach its medium."""

    address: Address
    name: str
    # Any: options of different types.
    options: Mapping[str, Any]
    """Those that differ from the defaults of `StoreOptions`."""

    @property
    def reference(self) -> StoreReference:
        """Itself: a reference refers to a store as the store and its config do."""
        return self


class Referring(Protocol):
    """A store, its config, or a reference."""

    @property
    def reference(self) -> StoreReference:
        """How other processes open the store."""
        ...


def address_key(address: Address) -> str:
    """``address`` as one string, which no other address has."""
    return address if isinstance(address, str) else repr(address)


def identity_of(kind: str, config: Mapping[str, Any], secret_options: frozenset[str]) -> str:
    """16 hex digits that tell the medium of a connector from all others, everywhere.

    Args:
        kind: Of the connector.
        config: Of the connector.
        secret_options: Names in ``config`` that are left out.

    Raises:
        ConfigError: The config holds something other than plain values.
    """
    # hashlib loads OpenSSL, which takes longer than all else that a store imports.
    from hashlib import blake2b

    public = {name: value for name, value in config.items() if name not in secret_options}
    return blake2b(_canonical_json([kind, public]).encode(), digest_size=8).hexdigest()


def _canonical_json(value: object) -> str:
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)
    except TypeError as exc:
        raise ConfigError("the config of a connector", str(exc)) from exc


def _plain(value: object) -> str:
    # Configs of connectors of the older system hold paths and bytes.
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(
        f"it holds a value of type {type(value).__qualname__}, and only str, int, float, "
        f"bool, None, lists and dicts can travel"
    )
