"""A connector that keeps objects in an SQLite file."""

from __future__ import annotations

from proxystore_connectors_template._connector import TemplateConnector, TemplateKey

__all__ = ["TemplateConnector", "TemplateKey"]
