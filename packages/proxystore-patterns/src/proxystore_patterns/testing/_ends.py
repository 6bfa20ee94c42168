"""When streams end, and for whom."""

from __future__ import annotations

import itertools

import pytest

from proxystore_patterns.errors import EndOfStreamError
from proxystore_patterns.streams import Acknowledging, BrokerCapability, Delivery, Subscriber
from proxystore_patterns.testing._broker import (
    Broker,
    drain,
    drain_each,
    event,
    events,
    is_silent,
    receive,
)
from proxystore_patterns.testing._suites import Suite, started

__all__ = ["EachSuite", "EndSuite", "KeptSuite", "OneSuite", "RunSuite"]


class EndSuite(Suite):
    """begin and end."""

    def test_a_stream_without_messages_ends(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, publisher = started(broker, topic)
        publisher.end(topic, "p0")
        assert drain(subscriber) == []

    def test_the_end_is_raised_again(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, publisher = started(broker, topic)
        publisher.end(topic, "p0")
        assert drain(subscriber) == []
        for _ in range(2):
            with pytest.raises(EndOfStreamError):
                subscriber.next_message(5)

    def test_only_the_last_producer_ends_the_stream(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, publisher = started(broker, topic)
        other = broker.publisher()
        other.begin(topic, "q0")
        publisher.send_message(topic, event(topic, 0))
        publisher.end(topic, "p0")
        assert event(topic, 0) == receive(subscriber).data
        assert is_silent(subscriber)
        other.send_message(topic, event(topic, 1))
        other.end(topic, "q0")
        assert [event(topic, 1)] == drain(subscriber)

    def test_a_stream_waits_for_the_producers_it_was_promised(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, first, second = (
            broker.subscriber(topic),
            broker.publisher(),
            broker.publisher(),
        )
        first.begin(topic, "p0", producers=2)
        first.end(topic, "p0")
        assert is_silent(subscriber)
        second.begin(topic, "q0", producers=2)
        second.send_message(topic, event(topic, 1))
        second.end(topic, "q0")
        assert [event(topic, 1)] == drain(subscriber)

    def test_every_subscriber_gets_an_end(self, broker: Broker) -> None:
        topic = broker.topic()
        subscribers = [broker.subscriber(topic) for _ in range(3)]
        publisher = broker.publisher()
        publisher.begin(topic, "p0")
        publisher.send_message(topic, event(topic, 0))
        publisher.end(topic, "p0")
        found = drain_each(subscribers)
        assert {event(topic, 0)} == {message for each in found for message in each}


class RunSuite(Suite):
    """What one run of a program leaves to the next, which uses the same topic."""

    def test_a_run_does_not_see_the_end_of_the_one_before(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, publisher = started(broker, topic)
        publisher.send_message(topic, event(topic, 0))
        publisher.end(topic, "p0")
        assert [event(topic, 0)] == drain(subscriber)
        subscriber.close()
        again = broker.next_subscriber(topic)
        assert is_silent(again)
        publisher.begin(topic, "q0")
        publisher.send_message(topic, event(topic, 1))
        publisher.end(topic, "q0")
        assert [event(topic, 1)] == drain(again)

    def test_a_run_does_not_see_an_end_that_nobody_waited_for(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, publisher = started(broker, topic)
        publisher.send_message(topic, event(topic, 0))
        assert event(topic, 0) == receive(subscriber).data
        publisher.end(topic, "p0")
        subscriber.close()
        again = broker.next_subscriber(topic)
        assert is_silent(again)
        publisher.begin(topic, "q0")
        publisher.end(topic, "q0")
        assert [] == drain(again)

    def test_each_run_waits_for_the_producers_it_was_promised(self, broker: Broker) -> None:
        topic = broker.topic()
        subscriber, publisher = started(broker, topic)
        publisher.end(topic, "p0")
        assert [] == drain(subscriber)
        subscriber.close()
        again = broker.next_subscriber(topic)
        other = broker.publisher()
        other.begin(topic, "q0", producers=2)
        other.end(topic, "q0")
        assert is_silent(again)
        other.begin(topic, "q1", producers=2)
        other.end(topic, "q1")
        assert [] == drain(again)


class EachSuite(Suite):
    """Brokers that give a message to every subscriber."""

    needs = frozenset({Delivery.EACH})

    def test_every_subscriber_gets_every_message(self, broker: Broker) -> None:
        topic = broker.topic()
        subscribers = [broker.subscriber(topic) for _ in range(2)]
        _publish(broker, topic, 20)
        assert [events(topic, 20)] * 2 == drain_each(subscribers)


class KeptSuite(Suite):
    """Brokers that keep a stream for every subscriber, whenever it comes."""

    needs = frozenset({Delivery.EACH, BrokerCapability.REPLAY})

    def test_a_late_subscriber_gets_what_was_kept_and_the_end(self, broker: Broker) -> None:
        topic = broker.topic()
        publisher = broker.publisher()
        publisher.begin(topic, "p0")
        publisher.send_message(topic, event(topic, 0))
        publisher.end(topic, "p0")
        for _ in range(2):
            assert [event(topic, 0)] == drain(broker.subscriber(topic))


class OneSuite(Suite):
    """Brokers that give a message to one subscriber."""

    needs = frozenset({Delivery.ONE})

    def test_a_message_goes_to_one_subscriber(self, broker: Broker) -> None:
        topic = broker.topic()
        subscribers = [broker.subscriber(topic) for _ in range(2)]
        _publish(broker, topic, 20)
        assert events(topic, 20) == _got_by(subscribers)

    def test_those_who_come_while_something_is_left_get_the_end(self, broker: Broker) -> None:
        topic = broker.topic()
        _publish(broker, topic, 3)
        subscribers = [broker.subscriber(topic) for _ in range(3)]
        assert events(topic, 3) == _got_by(subscribers)


def _publish(broker: Broker, topic: str, count: int) -> None:
    """A run of one producer."""
    publisher = broker.publisher()
    publisher.begin(topic, "p0")
    for message in events(topic, count):
        publisher.send_message(topic, message)
    publisher.end(topic, "p0")


def _got_by(subscribers: list[Subscriber]) -> list[bytes]:
    """What they got, in order. Each may have held one message while a group shared out anew."""
    found = sorted(itertools.chain.from_iterable(drain_each(subscribers)))
    held = len(subscribers) - 1 if isinstance(subscribers[0], Acknowledging) else 0
    once = sorted(set(found))
    return once if len(found) - len(once) <= held else found
