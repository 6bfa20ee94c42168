"""A connector that keeps objects in a process per node, which others reach by ZeroMQ."""

from __future__ import annotations

from proxystore_connectors_zmq._connector import ZMQConnector, ZMQKey

__all__ = ["ZMQConnector", "ZMQKey"]
