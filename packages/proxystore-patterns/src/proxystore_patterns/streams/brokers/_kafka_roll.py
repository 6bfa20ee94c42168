"""Which producers of a topic began and ended, read from the topic that tells."""

from __future__ import annotations

import json
import time
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from proxystore_patterns.streams.brokers._kafka_publisher import (
    failure,
    opened,
    roll_topic,
)

__all__ = ["KafkaRoll"]

_UNKNOWN = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})
_UNKNOWN_PARTITION = KafkaError._UNKNOWN_PARTITION


class KafkaRoll:
    """Follows the producers of a topic, from the first that ever was.

    All who read it agree on where one run ends and the next begins. Belongs to one
    thread at a time.

    Args:
        topic: The topic that they send to.
        where: The brokers, as errors name them.
        options: Configuration of the client. Any: of different types.
    """

    def __init__(self, topic: str, where: str, options: dict[str, Any]) -> None:
        self.runs = 0
        """How many times the last producer has ended, as far as it was read."""
        self._where = where
        self._begun: set[str] = set()
        self._ended: set[str] = set()
        self._expected = 1
        self._read = 0
        self._consumer = opened(Consumer, options)
        self._at = TopicPartition(roll_topic(topic), 0, OFFSET_BEGINNING)
        self._consumer.assign([self._at])

    @property
    def is_running(self) -> bool:
        """Whether producers have begun and not all of them ended."""
        return bool(self._begun)

    def catch_up(self, timeout: float) -> None:
        """Read all that there is by now.

        Raises:
            BrokerUnavailableError: That took longer than ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        try:
            _, end = self._consumer.get_watermark_offsets(self._at, timeout=timeout)
        except KafkaException as exc:
            if exc.args[0].code() in _UNKNOWN | {_UNKNOWN_PARTITION}:
                return
            raise failure(self._where, exc.args[0]) from exc
        while self._read < end:
            self._poll(0.1)
            if time.monotonic() > deadline:
                raise failure(self._where, KafkaError(KafkaError._TIMED_OUT))

    def look(self) -> None:
        """Read what has arrived."""
        while self._poll(0):
            pass

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()

    def _poll(self, seconds: float) -> bool:
        message = self._consumer.poll(seconds)
        if message is None:
            return False
        if message.error() is None:
            self._read = (message.offset() or 0) + 1
            self._note(message.value() or b"")
        return True

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
        if self._begun and self._begun <= self._ended and len(self._ended) >= self._expected:
            self.runs += 1
            self._begun, self._ended, self._expected = set(), set(), 1
