"""Where a connector's objects are, as other processes and other stores see it."""

from __future__ import annotations

from typing import Any

from proxystore.connectors.load import kind_of
from proxystore.store.reference import identity_of
from proxystore.store.types import Address

__all__ = ["Whereabouts"]


class Whereabouts:
    """Address and identity of the medium of ``connector``.

    Raises:
        ConfigError: The connector's config holds something other than plain values.
    """

    # Any: a connector of anybody, perhaps by the contract of the older system.
    def __init__(self, connector: Any) -> None:
        self._connector = connector
        self.kind = kind_of(connector)
        secrets: frozenset[str] = getattr(connector, "secret_options", frozenset())
        self.identity = identity_of(self.kind, connector.config(), secrets)
        has_url = hasattr(connector, "url") and hasattr(type(connector), "from_url")
        self.url: str | None = connector.url if has_url else None

    @property
    def address(self) -> Address:
        """The URL if there is one, else kind and config.

        The config is asked for each time, for it may hold the objects themselves
        (`LocalConnector`).
        """
        return self.url if self.url is not None else (self.kind, self._connector.config())
