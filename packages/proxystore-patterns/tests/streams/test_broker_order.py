"""Events that real brokers give out of order: those that come back from a member of a group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from proxystore_patterns.streams import StreamConsumer, StreamProducer
from proxystore_patterns.streams.brokers.redis import RedisGroupSubscriber, RedisStreamPublisher

pytestmark = pytest.mark.slow

Make = tuple[Callable[[], Any], Callable[[], Any]]


@pytest.fixture(params=["redis", "rabbitmq"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes publishers, and members of one group, of a topic of the test's own."""
    topic = f"order-{request.node.name}"
    if request.param == "redis":
        place = request.getfixturevalue("redis_server").place
        return (
            lambda: RedisStreamPublisher(*place),
            lambda: RedisGroupSubscriber(*place, topic, group="g"),
        )
    broker = pytest.importorskip("proxystore_patterns.streams.brokers.rabbitmq")
    url = request.getfixturevalue("rabbitmq_server").url
    return lambda: broker.RabbitMQPublisher(url), lambda: broker.RabbitMQSubscriber(url, topic)


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    return f"order-{request.node.name}"


def test_an_event_that_comes_back_after_later_ones_is_not_taken_for_a_duplicate(
    make: Make, topic: str
) -> None:
    make_publisher, make_subscriber = make
    giving_back, going_on = (StreamConsumer[int](make_subscriber(), timeout=20) for _ in range(2))
    with StreamProducer[int](make_publisher()) as producer:
        producer.open_topics(topic)
        producer.send(topic, 0)
        assert giving_back.next() == 0
        producer.send(topic, 1)
        producer.send(topic, 2)
        first = going_on.next()
        giving_back.reject()
        giving_back.close()
    rest = list(going_on)
    assert first == 1
    assert [0, 2] == sorted(rest)
    going_on.close()


def test_a_batch_that_comes_back_is_given_whole_and_one_that_is_sent_twice_once(
    make: Make, topic: str
) -> None:
    make_publisher, make_subscriber = make
    consumer = StreamConsumer[int](make_subscriber(), timeout=20)
    with StreamProducer[int](send_twice(make_publisher()), batch_size=3) as producer:
        for number in range(6):
            producer.send(topic, number)
        assert [0, 1] == [consumer.next() for _ in range(2)]
        # With the event that was not asked for yet.
        consumer.reject()
    found = list(consumer)
    # The copy of the batch that was given back may come before it.
    assert [0, 1, 2, 3, 4, 5] == sorted(found)
    consumer.close()


def send_twice(publisher: Any) -> Any:
    """``publisher`` as it is when the answers of its broker get lost."""
    send = publisher.send_message
    publisher.send_message = lambda topic, message: [send(topic, message) for _ in range(2)]
    return publisher
