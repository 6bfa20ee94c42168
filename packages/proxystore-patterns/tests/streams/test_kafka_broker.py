"""Kafka, by the mock cluster that is built into librdkafka, keeps the contract of brokers.

The protocol on the wire is the real one; what real brokers store, and how they fail, is not tested.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

pytest.importorskip("confluent_kafka", reason="confluent-kafka is missing")

from proxystore.abc import Acknowledgement
from proxystore_patterns.errors import StreamTimeoutError
from proxystore_patterns.streams import BrokerCapability, Delivery, Publisher, Subscriber
from proxystore_patterns.streams.brokers.kafka import (
    KafkaGroupSubscriber,
    KafkaPublisher,
    KafkaSubscriber,
)
from proxystore_patterns.testing import Broker, BrokerContract


class MockKafkaBroker(Broker):
    def __init__(self, servers: str) -> None:
        super().__init__()
        self._servers = servers

    def make_publisher(self) -> Publisher:
        return KafkaPublisher(self._servers)

    def make_subscriber(self, topic: str) -> Subscriber:
        return KafkaSubscriber(self._servers, topic)

    def make_next_subscriber(self, topic: str) -> Subscriber:
        return KafkaSubscriber(self._servers, topic, start="$")


class MockKafkaGroup(MockKafkaBroker):
    def make_subscriber(self, topic: str) -> Subscriber:
        options = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 100}
        return KafkaGroupSubscriber(
            self._servers, topic, group=topic, max_deliveries=2, options=options
        )

    make_next_subscriber = make_subscriber

    def make_dead_letter_subscriber(self, topic: str) -> Subscriber:
        return KafkaSubscriber(self._servers, f"{topic}.{topic}.dead")


@pytest.mark.slow
class TestMockKafka(BrokerContract):
    delivery = Delivery.EACH
    capabilities = frozenset({BrokerCapability.REPLAY})
    acknowledges = Acknowledgement.PROCESS

    @pytest.fixture
    def broker(self, kafka_mock: str) -> Iterator[Broker]:
        made = MockKafkaBroker(kafka_mock)
        yield made
        made.close()


@pytest.mark.slow
class TestMockKafkaGroup(BrokerContract):
    delivery = Delivery.ONE
    capabilities = frozenset({BrokerCapability.GROUPS, BrokerCapability.DEAD_LETTERS})
    acknowledges = Acknowledgement.PROCESS

    @pytest.fixture
    def broker(self, kafka_mock: str) -> Iterator[Broker]:
        made = MockKafkaGroup(kafka_mock)
        yield made
        made.close()


@pytest.mark.slow
def test_a_topic_cannot_be_one_that_tells_of_producers(kafka_mock: str) -> None:
    publisher = KafkaPublisher(kafka_mock)
    with pytest.raises(ValueError, match="another name"):
        publisher.begin("proxystore.producers.x", "p")
    with pytest.raises(ValueError, match="another name"):
        KafkaSubscriber(kafka_mock, "proxystore.producers.x")
    publisher.close()


@pytest.mark.slow
def test_a_member_is_closed_while_its_group_shares_out(kafka_mock: str) -> None:
    """As a process that is frozen cannot fail, another one closes, beside a busy thread."""
    code = """
import sys, threading
from proxystore_patterns.streams.brokers.kafka import KafkaGroupSubscriber
topics = [f"{sys.argv[2]}{n}" for n in range(20)]
members = [KafkaGroupSubscriber(sys.argv[1], topic, group=topic) for topic in topics]
def spin():
    while True:
        pass
threading.Thread(target=spin, daemon=True).start()
for member in members:
    member.close()
"""
    subprocess.run([sys.executable, "-c", code, kafka_mock, uuid4().hex], timeout=60, check=True)


@pytest.mark.slow
def test_members_that_leave_one_by_one_do_not_wait_for_each_other(kafka_mock: str) -> None:
    topic = uuid4().hex
    options = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 100}
    members = [
        KafkaGroupSubscriber(kafka_mock, topic, group=topic, options=options) for _ in range(3)
    ]
    for member in members:
        with pytest.raises(StreamTimeoutError):
            member.next_message(0.2)
    began = time.monotonic()
    for member in members:
        member.close()
    assert time.monotonic() - began < 1.8
