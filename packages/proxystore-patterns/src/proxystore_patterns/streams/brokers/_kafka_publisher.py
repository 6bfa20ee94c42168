"""Publishes to Kafka, and tells in a topic of its own which producers began and ended."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from uuid import uuid4

from confluent_kafka import KafkaError, KafkaException, Producer

from proxystore.abc import Acknowledgement
from proxystore.errors import ClosedError
from proxystore_patterns._options import checked_wait
from proxystore_patterns.errors import BrokerUnavailableError
from proxystore_patterns.streams.brokers._topics import checked_topic

__all__ = ["KafkaPublisher", "failure", "opened", "roll_topic"]

C = TypeVar("C")

_TIMEOUT = 30.0
_ROLL = "proxystore.producers."


def roll_topic(topic: str) -> str:
    """The topic that tells which producers of ``topic`` began and ended.

    Raises:
        ValueError: ``topic`` is one that tells so of another, or empty.
    """
    return f"{_ROLL}{checked_topic(topic, _ROLL)}"


def failure(where: str, error: KafkaError) -> BrokerUnavailableError:
    """What ``error`` means to a user."""
    found = f"{error.name()}: {error.str()[:200]}".removesuffix(".")
    advice = "See that its brokers can be reached from here, and that the topic may be used."
    return BrokerUnavailableError(where, found, advice)


def opened(client: Callable[[dict[str, Any]], C], options: dict[str, Any]) -> C:
    """A client of ``options``.

    Raises:
        ValueError: It knows one of them not, or not its value.
    """
    try:
        return client(options)
    except KafkaException as exc:
        found = exc.args[0].str()
        raise ValueError(f"options= has what the client of Kafka does not take: {found}.") from exc


class KafkaPublisher:
    """Appends the messages of each topic to one of its partitions. Thread safe.

    All messages of one publisher and topic go to the same partition, so they stay
    in order. Acknowledged once all in-sync replicas have it; retries make no
    duplicates.

    Args:
        bootstrap_servers: ``host:port`` of some brokers, separated by commas.
        timeout: Most seconds until a message is acknowledged.
        options: More configuration of the client, such as ``security.protocol``.
    """

    # Any: options of different types.
    def __init__(
        self,
        bootstrap_servers: str,
        *,
        timeout: float = _TIMEOUT,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._where = f"kafka at {bootstrap_servers}"
        self._timeout = checked_wait("timeout", timeout, zero=False)
        self._id = uuid4().bytes
        self._lock = threading.Lock()
        self._partitions: dict[str, int] = {}
        self._closed = False
        self._client = opened(
            Producer,
            {
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                "message.timeout.ms": int(timeout * 1000),
                "log_level": 0,
                **(options or {}),
                "bootstrap.servers": bootstrap_servers,
            },
        )

    @property
    def acknowledges(self) -> Acknowledgement:
        """`PROCESS`: replicas write a message, and leave it to the system to sync it."""
        return Acknowledgement.PROCESS

    def begin(self, topic: str, producer: str, *, producers: int = 1) -> None:
        # First, for without a connection the client looks again after half a second.
        self._partition(topic)
        said = {"begin": producer, "producers": producers}
        self._produce(roll_topic(topic), json.dumps(said).encode(), 0)

    def send_message(self, topic: str, message: bytes) -> None:
        self._produce(topic, message, self._partition(topic))

    def end(self, topic: str, producer: str) -> None:
        self._produce(roll_topic(topic), json.dumps({"end": producer}).encode(), 0)

    def close(self) -> None:
        self._closed = True

    def _partition(self, topic: str) -> int:
        with self._lock:
            if topic not in self._partitions:
                try:
                    found = self._client.list_topics(topic, timeout=self._timeout).topics[topic]
                except KafkaException as exc:
                    raise failure(self._where, exc.args[0]) from exc
                # A topic that is being made has none yet, and will have a first one.
                count = max(len(found.partitions), 1)
                self._partitions[topic] = zlib.crc32(self._id) % count
            return self._partitions[topic]

    def _produce(self, topic: str, data: bytes, partition: int) -> None:
        if self._closed:
            raise ClosedError(type(self).__name__)
        answers: list[KafkaError | None] = []
        done = threading.Event()

        # Any: the message, which is known already.
        def answered(error: KafkaError | None, _message: Any) -> None:
            answers.append(error)
            done.set()

        try:
            self._client.produce(topic, data, partition=partition, on_delivery=answered)
        except (KafkaException, BufferError) as exc:
            error = exc.args[0] if isinstance(exc, KafkaException) else KafkaError(-184)
            raise failure(self._where, error) from exc
        # Each thread serves the answers of all.
        while not done.is_set():
            self._client.poll(0.05)
        if answers[0] is not None:
            raise failure(self._where, answers[0])
