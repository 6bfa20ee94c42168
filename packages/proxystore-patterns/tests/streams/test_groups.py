"""Consumers that share a topic, go back in it, or fail at an event of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from proxystore.errors import SerializationError
from proxystore.serialize import serialize
from proxystore.store import Store
from proxystore_patterns.streams import (
    Message,
    NewObjectEvent,
    StreamConsumer,
    StreamProducer,
    event_to_bytes,
)
from proxystore_patterns.testing import Broker

BIG = 200_000


def test_in_a_group_an_object_is_there_until_its_use_is_acknowledged(
    store: Store[Any], group_broker: Broker
) -> None:
    topic = group_broker.topic()
    with StreamProducer[Any](group_broker.make_publisher(), default_store=store) as producer:
        producer.send(topic, np.arange(BIG))
    dying = StreamConsumer[Any](group_broker.make_subscriber(topic), timeout=5)
    assert dying.next_object().size == BIG
    dying.close()
    survivor, other = (
        StreamConsumer[Any](group_broker.make_subscriber(topic), timeout=5) for _ in range(2)
    )
    assert [BIG] == [array.size for array in survivor.iter_objects()]
    survivor.close()
    assert [] == list(other)
    other.close()


def test_a_poison_object_of_a_group_ends_among_the_dead_letters(group_broker: Broker) -> None:
    topic = group_broker.topic()
    publisher = group_broker.publisher()
    publisher.begin(topic, "p")
    poison = event_to_bytes(NewObjectEvent(topic, b"no object", {}, "p", 0))
    publisher.send_message(topic, poison)
    publisher.send_message(topic, event_to_bytes(NewObjectEvent(topic, serialize(1), {}, "p", 1)))
    publisher.end(topic, "p")
    consumer = StreamConsumer[Any](group_broker.make_subscriber(topic), timeout=5)
    iterator, found, poisoned = consumer.iter_objects(), [], 0
    while True:
        try:
            found.append(next(iterator))
        except SerializationError:
            poisoned += 1
        except StopIteration:
            break
    assert [1] == found
    assert poisoned == 2
    dead: Message = group_broker.dead_letters(topic).next_message(5)
    assert poison == dead.data
    consumer.close()


def test_a_consumer_replays_from_an_offset(stream_broker: Broker) -> None:
    topic = stream_broker.topic()
    with StreamProducer[Any](stream_broker.make_publisher()) as producer:
        for number in range(5):
            producer.send(topic, number)
    consumer = StreamConsumer[Any](stream_broker.make_subscriber(topic), timeout=5)
    places = [(consumer.next(), consumer.offset) for _ in range(5)]
    assert [] == list(consumer)
    assert places[2][1] is not None
    consumer.seek(places[2][1])
    assert [2, 3, 4] == list(consumer)
    consumer.close()


@pytest.mark.parametrize("offset", ["abc", "1-2-3", "-5", "", None, 1.5])
def test_an_offset_that_is_none_is_refused_and_the_stream_goes_on(
    stream_broker: Broker, offset: Any
) -> None:
    topic = stream_broker.topic()
    with StreamProducer[Any](stream_broker.make_publisher()) as producer:
        producer.send(topic, 1)
    consumer = StreamConsumer[Any](stream_broker.make_subscriber(topic), timeout=5)
    with pytest.raises(ValueError, match=f"RedisStreamSubscriber gave, not {offset!r}"):
        consumer.seek(offset)
    assert [1] == list(consumer)
    consumer.close()
