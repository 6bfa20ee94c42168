"""Lists, channels and streams of a real redis-server keep the contract of brokers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from proxystore.abc import Acknowledgement
from proxystore_patterns.streams import BrokerCapability, Delivery, Publisher, Subscriber
from proxystore_patterns.streams.brokers.redis import (
    RedisPublisher,
    RedisQueuePublisher,
    RedisQueueSubscriber,
    RedisStreamPublisher,
    RedisSubscriber,
)
from proxystore_patterns.testing import Broker, BrokerContract

LOSS = frozenset({BrokerCapability.NOTICES_LOSS})


class ListBroker(Broker):
    def __init__(self, place: tuple[str, int]) -> None:
        super().__init__()
        self.place = place

    def make_publisher(self) -> Publisher:
        return RedisQueuePublisher(*self.place)

    def make_subscriber(self, topic: str) -> Subscriber:
        return RedisQueueSubscriber(*self.place, topic)


class ChannelBroker(ListBroker):
    def make_publisher(self) -> Publisher:
        return RedisPublisher(*self.place)

    def make_subscriber(self, topic: str) -> Subscriber:
        return RedisSubscriber(*self.place, topic)


class TestRedisList(BrokerContract):
    delivery = Delivery.ONE
    capabilities = LOSS
    acknowledges = Acknowledgement.MEMORY

    @pytest.fixture
    def broker(self, redis_server: Any) -> Iterator[Broker]:
        made = ListBroker(redis_server.place)
        yield made
        made.close()


class TestRedisChannel(BrokerContract):
    delivery = Delivery.EACH
    capabilities = LOSS
    acknowledges = Acknowledgement.MEMORY

    @pytest.fixture
    def broker(self, redis_server: Any) -> Iterator[Broker]:
        made = ChannelBroker(redis_server.place)
        yield made
        made.close()


class TestRedisStream(BrokerContract):
    delivery = Delivery.EACH
    capabilities = LOSS | {BrokerCapability.REPLAY}
    acknowledges = Acknowledgement.MEMORY

    @pytest.fixture
    def broker(self, stream_broker: Broker) -> Broker:
        return stream_broker


class TestRedisGroup(BrokerContract):
    delivery = Delivery.ONE
    capabilities = LOSS | {
        BrokerCapability.REPLAY,
        BrokerCapability.GROUPS,
        BrokerCapability.DEAD_LETTERS,
    }
    acknowledges = Acknowledgement.MEMORY

    @pytest.fixture
    def broker(self, group_broker: Broker) -> Broker:
        return group_broker


@pytest.mark.parametrize(
    ("options", "level"),
    [
        ((), Acknowledgement.MEMORY),
        (("--appendonly", "yes"), Acknowledgement.PROCESS),
        (("--appendonly", "yes", "--appendfsync", "always"), Acknowledgement.DISK),
    ],
)
def test_the_level_is_that_of_the_server(
    start_redis: Any, options: tuple[str, ...], level: Acknowledgement
) -> None:
    publisher = RedisQueuePublisher(*start_redis(*options).place)
    assert level == publisher.acknowledges
    publisher.close()


def test_topics_named_after_others_are_apart(redis_server: Any) -> None:
    publisher = RedisQueuePublisher(*redis_server.place)
    topics = ("x", "x:census", "x:producers", "census:x", "producers:x")
    subscribers = {topic: RedisQueueSubscriber(*redis_server.place, topic) for topic in topics}
    for topic in topics:
        publisher.begin(topic, "p")
    for topic in topics:
        publisher.send_message(topic, topic.encode())
        publisher.end(topic, "p")
    for topic, subscriber in subscribers.items():
        assert topic.encode() == subscriber.next_message(5).data
        with pytest.raises(EOFError):
            subscriber.next_message(5)
        subscriber.close()
    publisher.close()


@pytest.mark.parametrize("kind", ["census", "producers"])
def test_a_topic_cannot_have_a_name_of_the_census(redis_server: Any, kind: str) -> None:
    topic = f"proxystore:{kind}:x"
    publisher = RedisStreamPublisher(*redis_server.place)
    with pytest.raises(ValueError, match="another name"):
        publisher.begin(topic, "p")
    with pytest.raises(ValueError, match="another name"):
        RedisQueueSubscriber(*redis_server.place, topic)
    publisher.close()
