"""A connector that keeps objects in object stores: S3, Google Cloud Storage, Azure, directories."""

from __future__ import annotations

from proxystore_connectors_obstore._connector import ObstoreConnector, ObstoreKey

__all__ = ["ObstoreConnector", "ObstoreKey"]
