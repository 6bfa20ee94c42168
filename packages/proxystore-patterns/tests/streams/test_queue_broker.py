"""Queues keep the contract of brokers."""

from __future__ import annotations

import queue

import pytest

from proxystore.abc import Acknowledgement
from proxystore_patterns.errors import StreamTimeoutError
from proxystore_patterns.streams import (
    BrokerCapability,
    Delivery,
    StreamConsumer,
    StreamProducer,
)
from proxystore_patterns.streams.brokers.queue import QueuePublisher, QueueSubscriber
from proxystore_patterns.testing import Broker, BrokerContract


class TestQueue(BrokerContract):
    delivery = Delivery.ONE
    capabilities: frozenset[BrokerCapability] = frozenset()
    acknowledges = Acknowledgement.MEMORY

    @pytest.fixture
    def broker(self, queue_broker: Broker) -> Broker:
        return queue_broker


class TestProcessQueue(TestQueue):
    @pytest.fixture
    def broker(self, process_queue_broker: Broker) -> Broker:
        return process_queue_broker


@pytest.mark.parametrize("size", [1, 2])
def test_who_comes_late_gets_the_end_that_found_no_room(size: int) -> None:
    full: queue.Queue[bytes] = queue.Queue(size)
    producer = StreamProducer[int](QueuePublisher({"t": full}, timeout=0))
    for number in range(size):
        producer.send("t", number)
    with pytest.raises(StreamTimeoutError, match="room"):
        producer.close()
    consumer = StreamConsumer[int](QueueSubscriber(full), timeout=0.1)
    assert list(range(size)) == list(consumer)
    with pytest.raises(StreamTimeoutError):
        StreamConsumer[int](QueueSubscriber(full), timeout=0).next()
