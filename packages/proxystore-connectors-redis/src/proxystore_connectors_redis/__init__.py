"""A connector that keeps objects in Redis, Valkey or KeyDB."""

from __future__ import annotations

from proxystore_connectors_redis._connector import RedisConnector, RedisKey

__all__ = ["RedisConnector", "RedisKey"]
