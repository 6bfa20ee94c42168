"""What brokers with groups, dead letters and replay keep."""

from __future__ import annotations

from typing import Any

from proxystore_patterns.streams import BrokerCapability, Publisher
from proxystore_patterns.testing._broker import (
    Broker,
    drain,
    event,
    events,
    receive,
    take,
)
from proxystore_patterns.testing._suites import Suite, started

__all__ = ["DeadLetterSuite", "GroupSuite", "ReplaySuite"]


# Any: a subscriber with the methods of what the test needs.
def _able(broker: Broker, topic: str) -> tuple[Any, Publisher]:
    return started(broker, topic)


class GroupSuite(Suite):
    """acknowledge and reject."""

    needs = frozenset({BrokerCapability.GROUPS})

    def test_what_was_not_acknowledged_is_delivered_again(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, publisher = _able(broker, topic)
        publisher.send_message(topic, event(topic, 0))
        assert event(topic, 0) == take(subscriber).data
        subscriber.close()
        assert event(topic, 0) == receive(broker.subscriber(topic)).data

    def test_what_was_acknowledged_is_not_delivered_again(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, publisher = _able(broker, topic)
        for message in events(topic, 2):
            publisher.send_message(topic, message)
        assert events(topic, 2) == [receive(subscriber).data for _ in range(2)]
        subscriber.close()
        again = broker.subscriber(topic)
        publisher.end(topic, "p0")
        assert drain(again) == []

    def test_what_was_rejected_is_delivered_again(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, publisher = _able(broker, topic)
        publisher.send_message(topic, event(topic, 0))
        subscriber.reject(take(subscriber))
        again = take(subscriber)
        assert event(topic, 0) == again.data
        assert again.deliveries == 2
        subscriber.acknowledge(again)
        publisher.end(topic, "p0")
        assert drain(subscriber) == []


class DeadLetterSuite(Suite):
    """What becomes of messages that nobody can use."""

    needs = frozenset({BrokerCapability.GROUPS, BrokerCapability.DEAD_LETTERS})

    def test_what_was_delivered_too_often_goes_to_the_dead_letters(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, publisher = _able(broker, topic)
        for message in events(topic, 2):
            publisher.send_message(topic, message)
        publisher.end(topic, "p0")
        good: list[bytes] = []
        for _ in range(3):
            found = take(subscriber)
            if found.data == event(topic, 0):
                subscriber.reject(found)
            else:
                good.append(found.data)
                subscriber.acknowledge(found)
        assert [event(topic, 1)] == good
        assert drain(subscriber) == []
        assert event(topic, 0) == take(broker.dead_letters(topic)).data


class ReplaySuite(Suite):
    """seek."""

    needs = frozenset({BrokerCapability.REPLAY})

    def test_a_stream_is_replayed_from_an_offset(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, publisher = _able(broker, topic)
        for message in events(topic, 5):
            publisher.send_message(topic, message)
        publisher.end(topic, "p0")
        found = [receive(subscriber) for _ in range(5)]
        assert events(topic, 5) == [message.data for message in found]
        subscriber.seek(found[2].offset)
        assert events(topic, 3, 2) == drain(subscriber)
        subscriber.seek(found[4].offset)
        assert events(topic, 1, 4) == drain(subscriber)
