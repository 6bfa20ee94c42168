"""Kafka as a broker, by `confluent_kafka`.

Needs the extra: ``pip install 'proxystore-patterns[kafka]'``.
"""

from __future__ import annotations

from proxystore_patterns._extras import importing

with importing("kafka"):
    from proxystore_patterns.streams.brokers._kafka_publisher import KafkaPublisher
    from proxystore_patterns.streams.brokers._kafka_subscriber import (
        KafkaGroupSubscriber,
        KafkaSubscriber,
    )

__all__ = ["KafkaGroupSubscriber", "KafkaPublisher", "KafkaSubscriber"]
