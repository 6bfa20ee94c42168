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
