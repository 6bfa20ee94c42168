"""Runs that fewer producers began than were promised."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from proxystore_patterns.errors import ProducersLostError, StreamTimeoutError
from proxystore_patterns.streams import StreamConsumer, StreamProducer, Subscriber
from proxystore_patterns.streams.brokers.redis import (
    RedisGroupSubscriber,
    RedisPublisher,
    RedisQueuePublisher,
    RedisQueueSubscriber,
    RedisStreamPublisher,
    RedisStreamSubscriber,
    RedisSubscriber,
)

LEASE_S = 0.1
KINDS: dict[str, tuple[Any, Any]] = {
    "list": (RedisQueuePublisher, RedisQueueSubscriber),
    "channel": (RedisPublisher, RedisSubscriber),
    "stream": (RedisStreamPublisher, partial(RedisStreamSubscriber, start="$")),
    "group": (RedisStreamPublisher, partial(RedisGroupSubscriber, group="g")),
}


def wait(subscriber: Subscriber) -> None:
    """Until something fails: who waits for long looks for a loss each second, this more often."""
    while True:
        with suppress(StreamTimeoutError):
            subscriber.next_message(0.05)


class Program:
    """Runs of a program of two producers, on one topic of a server."""

    def __init__(self, place: tuple[str, int], kind: str, topic: str) -> None:
        publisher, subscriber = KINDS[kind]
        self.make_publisher = partial(publisher, *place)
        self.subscriber = partial(subscriber, *place, topic, timeout=20)
        self.topic = topic

    def consume(self) -> StreamConsumer[int]:
        return StreamConsumer[int](self.subscriber())

    def produce(self, number: int, **options: float) -> None:
        with self.producer(**options) as producer:
            producer.send(self.topic, number)

    def producer(self, **options: float) -> StreamProducer[int]:
        return StreamProducer[int](self.make_publisher(**options), producers=2)

    def run_half(self, *, ended: bool) -> None:
        """One of the two producers ends, or dies; the other never begins."""
        if ended:
            self.produce(0, lease=LEASE_S)
            return
        publisher = self.make_publisher(lease=LEASE_S)
        publisher.begin(self.topic, "dead", producers=2)
        # No longer renewed, as if it were killed.
        publisher.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ended", [True, False], ids=["ended", "died"])
def test_a_run_that_nobody_continued_is_lost_and_leaves_nothing_to_later_ones(
    redis_server: Any, kind: str, ended: bool
) -> None:
    program = Program(redis_server.place, kind, f"half-{kind}-{ended}")
    subscriber = program.subscriber()
    with StreamConsumer[int](subscriber) as consumer:
        program.run_half(ended=ended)
        assert [0] * ended == [consumer.next() for _ in range(ended)]
        # What it had is acknowledged, or a group would have it again.
        consumer.acknowledge()
        with pytest.raises(ProducersLostError, match="only 1 of 2 producers began"):
            wait(subscriber)
    with program.consume() as consumer:
        program.produce(1)
        assert consumer.next() == 1
        program.produce(2)
        assert [2] == list(consumer)
    with program.consume() as consumer:
        with program.producer() as one, program.producer() as other:
            one.send(program.topic, 3)
            other.send(program.topic, 4)
        assert [3, 4] == list(consumer)


def test_a_dead_producer_of_an_incomplete_run_does_not_end_it_while_another_lives(
    redis_server: Any,
) -> None:
    program = Program(redis_server.place, "list", "survivor")
    subscriber = program.subscriber()
    with StreamConsumer[int](subscriber) as consumer:
        with StreamProducer[int](program.make_publisher(), producers=3) as survivor:
            survivor.open_topics(program.topic)
            program.run_half(ended=False)
            with pytest.raises(StreamTimeoutError):
                subscriber.next_message(2 * LEASE_S)
        program.produce(1)
        assert consumer.next() == 1
        with pytest.raises(ProducersLostError, match="leases"):
            wait(subscriber)
