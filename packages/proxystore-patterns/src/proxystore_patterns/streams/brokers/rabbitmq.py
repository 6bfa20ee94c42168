"""RabbitMQ as a broker: durable queues for groups, confirms, dead letters.

Needs the extra: ``pip install 'proxystore-patterns[rabbitmq]'``.
"""

from __future__ import annotations

from proxystore_patterns._extras import importing

with importing("rabbitmq"):
    from proxystore_patterns.streams.brokers._rabbitmq_publisher import RabbitMQPublisher
    from proxystore_patterns.streams.brokers._rabbitmq_subscriber import RabbitMQSubscriber

__all__ = ["RabbitMQPublisher", "RabbitMQSubscriber"]
