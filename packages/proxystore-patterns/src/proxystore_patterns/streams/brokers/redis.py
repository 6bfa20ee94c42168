"""Redis, Valkey or KeyDB as a broker: pub/sub, lists, and streams with groups.

Needs the extra: ``pip install 'proxystore-patterns[redis]'``.
"""

from __future__ import annotations

from proxystore_patterns._extras import importing

with importing("redis"):
    from proxystore_patterns.streams.brokers._redis_pubsub import RedisPublisher, RedisSubscriber
    from proxystore_patterns.streams.brokers._redis_queue import (
        RedisQueuePublisher,
        RedisQueueSubscriber,
    )
    from proxystore_patterns.streams.brokers._redis_stream import (
        RedisGroupSubscriber,
        RedisStreamPublisher,
        RedisStreamSubscriber,
    )

__all__ = [
    "RedisGroupSubscriber",
    "RedisPublisher",
    "RedisQueuePublisher",
    "RedisQueueSubscriber",
    "RedisStreamPublisher",
    "RedisStreamSubscriber",
    "RedisSubscriber",
]
