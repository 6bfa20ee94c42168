"""A connector that keeps objects in a container of a DAOS storage system."""

from __future__ import annotations

from proxystore_connectors_daos._connector import DAOSConnector, DAOSKey

__all__ = ["DAOSConnector", "DAOSKey"]
