"""A real RabbitMQ node keeps the contract of brokers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("pika", reason="pika is missing")

from proxystore.abc import Acknowledgement
from proxystore_patterns.streams import (
    BrokerCapability,
    Delivery,
    Message,
    Publisher,
    Subscriber,
)
from proxystore_patterns.streams.brokers.rabbitmq import RabbitMQPublisher, RabbitMQSubscriber
from proxystore_patterns.testing import Broker, BrokerContract


class RabbitMQBroker(Broker):
    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def make_publisher(self) -> Publisher:
        return RabbitMQPublisher(self._url)

    def make_subscriber(self, topic: str) -> Subscriber:
        return RabbitMQSubscriber(self._url, topic, max_deliveries=2)

    def make_dead_letter_subscriber(self, topic: str) -> Subscriber:
        return DeadLetters(self._url, f"{topic}.dead.consumers")


class DeadLetters:
    """Reads a queue as any client would."""

    def __init__(self, url: str, queue: str) -> None:
        import pika

        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._queue = queue

    def next_message(self, timeout: float | None = None) -> Message:
        channel = self._connection.channel()
        for _, _, body in channel.consume(self._queue, inactivity_timeout=timeout):
            assert body is not None, "no dead letter came"
            return Message(body)
        raise AssertionError

    def close(self) -> None:
        self._connection.close()


@pytest.mark.slow
class TestRabbitMQ(BrokerContract):
    delivery = Delivery.ONE
    capabilities = frozenset(
        {
            BrokerCapability.GROUPS,
            BrokerCapability.DEAD_LETTERS,
            BrokerCapability.NOTICES_LOSS,
        }
    )
    acknowledges = Acknowledgement.DISK

    @pytest.fixture
    def broker(self, rabbitmq_server: Any) -> Iterator[Broker]:
        made = RabbitMQBroker(rabbitmq_server.url)
        yield made
        made.close()


@pytest.mark.slow
def test_topics_and_groups_named_after_others_are_apart(rabbitmq_server: Any) -> None:
    url = rabbitmq_server.url
    places = [("x", name) for name in ("producers", "begun", "ended", "g", "g.dead", "dead.g")]
    places += [("x.g", "dead"), ("x.group", "g"), ("x%2Eg", "dead")]
    subscribers = [RabbitMQSubscriber(url, topic, group=group) for topic, group in places]
    publisher = RabbitMQPublisher(url, groups=())
    topics = dict(places)
    for topic in topics:
        publisher.begin(topic, "p")
    for topic in topics:
        publisher.send_message(topic, topic.encode())
        publisher.end(topic, "p")
    for (topic, _), subscriber in zip(places, subscribers, strict=True):
        found = subscriber.next_message(5)
        assert topic.encode() == found.data
        subscriber.acknowledge(found)
        with pytest.raises(EOFError):
            subscriber.next_message(5)
        subscriber.close()
    publisher.close()
