"""Which producers of a topic began and ended, read from the topic that tells."""

from __future__ import annotations

import json
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from proxystore_patterns.streams.brokers._kafka_publisher import roll_topic

__all__ = ["KafkaRoll"]


class KafkaRoll:
    """Follows the producers of a topic. Belongs to one thread at a time.

    Args:
        topic: The topic that they send to.
        options: Configuration of the client. Any: of different types.
    """

    def __init__(self, topic: str, options: dict[str, Any]) -> None:
        self._begun: set[str] = set()
        self._ended: set[str] = set()
        self._expected = 1
        self._consumer = Consumer(options)
        self._consumer.assign([TopicPartition(roll_topic(topic), 0, OFFSET_BEGINNING)])

    def is_over(self) -> bool:
        """Whether all that began, and as many as were promised, have ended by now."""
        while (message := self._consumer.poll(0)) is not None:
            if message.error() is None:
                self._note(message.value() or b"")
        return self._begun <= self._ended and len(self._ended) >= self._expected

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()

    def _note(self, data: bytes) -> None:
        try:
            said = json.loads(data)
            if "begin" in said:
                self._begun.add(str(said["begin"]))
                self._expected = max(self._expected, int(said["producers"]))
            else:
                self._ended.add(str(said["end"]))
        # Of a stranger, who may write what he likes.
        except (ValueError, KeyError, TypeError):
            return
