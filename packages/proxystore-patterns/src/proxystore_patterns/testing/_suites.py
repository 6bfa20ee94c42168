"""What every broker keeps: each message once, in order, unchanged, when it is acknowledged."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, ClassVar

import pytest

from proxystore.abc import Acknowledgement
from proxystore_patterns.errors import StreamTimeoutError
from proxystore_patterns.streams import BrokerCapability, Delivery, Publisher, Subscriber
from proxystore_patterns.testing._broker import Broker, drain, event, events, receive

__all__ = ["ClaimSuite", "MessageSuite", "Suite"]


class Suite:
    """Tests that belong together, and what a broker must claim to get them."""

    needs: ClassVar[frozenset[BrokerCapability | Delivery]] = frozenset()

    if TYPE_CHECKING:
        capabilities: ClassVar[frozenset[BrokerCapability]]
        delivery: ClassVar[Delivery]
        acknowledges: ClassVar[Acknowledgement]


def started(broker: Broker, topic: str, producers: int = 1) -> tuple[Subscriber, Publisher]:
    """A subscriber that is there before a publisher begins with ``producers``."""
    subscriber, publisher = broker.subscriber(topic), broker.publisher()
    for number in range(producers):
        publisher.begin(topic, f"p{number}")
    return subscriber, publisher


class ClaimSuite(Suite):
    """What publishers and subscribers say of themselves."""

    def test_the_claims_are_what_the_broker_says(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, publisher = started(broker, topic)
        assert self.capabilities == subscriber.capabilities
        assert self.delivery == subscriber.delivery
        assert self.acknowledges == publisher.acknowledges
        assert isinstance(publisher, Publisher)
        assert isinstance(subscriber, Subscriber)

    def test_closing_twice_is_not_an_error(self, broker: Broker) -> None:
        for made in started(broker, broker.topic()):
            made.close()
            made.close()


class MessageSuite(Suite):
    """send_message and next_message."""

    def test_a_message_arrives_without_another_call(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, publisher = started(broker, topic)
        publisher.send_message(topic, event(topic, 1))
        assert event(topic, 1) == receive(subscriber).data

    def test_messages_arrive_once_and_in_order(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, publisher = started(broker, topic)
        for message in events(topic, 100):
            publisher.send_message(topic, message)
        publisher.end(topic, "p0")
        assert events(topic, 100) == drain(subscriber)

    def test_messages_of_any_size_arrive_as_they_were_sent(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, publisher = started(broker, topic)
        sent = [event(topic, n, nbytes) for n, nbytes in enumerate((0, 1, 65_536, 900_000))]
        for message in sent:
            publisher.send_message(topic, message)
        assert sent == [receive(subscriber).data for _ in sent]

    def test_topics_are_apart(self, broker: Broker) -> None:
        first, second = broker.topic(), broker.topic()
        subscribers = {topic: broker.subscriber(topic) for topic in (first, second)}
        publisher = broker.publisher()
        for topic in (first, second):
            publisher.begin(topic, "p0")
        for topic in (first, second):
            publisher.send_message(topic, event(topic, 1))
        for topic in (first, second):
            publisher.end(topic, "p0")
            assert [event(topic, 1)] == drain(subscribers[topic])

    def test_threads_share_a_publisher(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, publisher = started(broker, topic)

        def send(first: int) -> None:
            for message in events(topic, 25, first):
                publisher.send_message(topic, message)

        threads = [threading.Thread(target=send, args=(n * 25,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        publisher.end(topic, "p0")
        found = drain(subscriber)
        assert sorted(events(topic, 100)) == sorted(found)
        for first in range(0, 100, 25):
            mine = events(topic, 25, first)
            assert mine == [message for message in found if message in mine]

    def test_next_message_ends_at_its_timeout(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, _ = started(broker, topic)
        start = time.monotonic()
        with pytest.raises(StreamTimeoutError, match=subscriber.topic):
            subscriber.next_message(0.2)
        assert 0.15 <= time.monotonic() - start <= 2
