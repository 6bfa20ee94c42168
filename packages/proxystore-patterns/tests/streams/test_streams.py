"""Producers and consumers, whatever the broker."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any

import numpy as np
import pytest

from proxystore.errors import ForbiddenSerializerError, SerializationError
from proxystore.proxy import Proxy, is_resolved
from proxystore.serialize import SAFE_SERIALIZERS, serialize
from proxystore.store import Store
from proxystore_patterns.errors import (
    BadEventError,
    EventEncodingError,
    EventObjectMissingError,
    ForbiddenStoreError,
    StreamCapabilityError,
    StreamFullError,
    StreamTimeoutError,
    TopicClosedError,
)
from proxystore_patterns.streams import (
    NewObjectEvent,
    NullFilter,
    SamplingFilter,
    StreamConsumer,
    StreamProducer,
    event_to_bytes,
)
from proxystore_patterns.streams.brokers.queue import QueuePublisher, QueueSubscriber

BIG = 200_000


def test_large_objects_come_as_proxies_and_small_ones_as_themselves(
    store: Store[Any], publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    with StreamProducer[Any](publisher, default_store=store) as producer:
        producer.send("t", np.arange(BIG))
        producer.send("t", [1, 2])
        producer.send("t", None)
    large, small, nothing = consumer
    assert isinstance(large, Proxy)
    assert not is_resolved(large)
    assert large.sum() == np.arange(BIG).sum()
    assert small == [1, 2]
    assert nothing is None


def test_without_a_store_everything_travels_in_events(
    publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    with StreamProducer[Any](publisher) as producer:
        producer.send("t", b"x" * BIG)
    assert [b"x" * BIG] == list(consumer.iter_objects())


def test_metadata_travels_with_each_object(
    store: Store[Any], publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    metadata = {"step": 1, "shape": (2, 3), "raw": b"\0", "deep": {"a": [None, 1.5]}}
    with StreamProducer[Any](publisher, default_store=store) as producer:
        for obj in ("a", "b", b"x" * BIG, b"y" * BIG, "last"):
            producer.send("t", obj, metadata=metadata)
    assert (metadata, "a") == consumer.next_with_metadata()
    assert (metadata, "b") == consumer.next_object_with_metadata()
    assert metadata == consumer.next_metadata()
    assert [(metadata, b"y" * BIG), (metadata, "last")] == list(
        consumer.iter_objects_with_metadata()
    )


@pytest.mark.parametrize("evict", [True, False])
def test_an_object_is_evicted_after_use_if_asked(
    store: Store[Any], publisher: QueuePublisher, evict: bool
) -> None:
    sent: list[bytes] = []
    with StreamProducer[Any](publisher, default_store=store) as producer:
        publisher.send_message = lambda topic, message: sent.append(message)  # type: ignore[method-assign]
        producer.send("t", b"x" * BIG, evict=evict)
        del publisher.send_message
        producer.close_topics()
    again: queue.Queue[bytes] = queue.Queue()
    for message in sent * 2:
        again.put(message)
    first, second = (StreamConsumer[Any](QueueSubscriber(again), timeout=1) for _ in range(2))
    assert first.next_object() == b"x" * BIG
    if evict:
        with pytest.raises(EventObjectMissingError, match="evict=False"):
            second.next_object()
    else:
        assert second.next_object() == b"x" * BIG


def test_each_topic_has_its_store() -> None:
    queues: dict[str, Any] = {"a": queue.Queue(), "b": queue.Queue()}
    with Store("one") as one, Store("two") as two:
        producer = StreamProducer[Any](QueuePublisher(queues), stores={"a": one}, default_store=two)
        for topic in queues:
            producer.send(topic, np.arange(BIG))
        for topic, store in (("a", one), ("b", two)):
            consumer = StreamConsumer[Any](QueueSubscriber(queues[topic]), stores=[store])
            assert consumer.next_object().size == BIG
        producer.close()


def test_an_event_cannot_name_a_store_that_the_consumer_does_not_allow(
    store: Store[Any], publisher: QueuePublisher, topic_queue: queue.Queue[bytes]
) -> None:
    with Store("mine") as mine, StreamProducer[Any](publisher, default_store=store) as producer:
        producer.send("t", np.arange(BIG))
        producer.send("t", 1)
        consumer = StreamConsumer[Any](QueueSubscriber(topic_queue), stores=[mine])
        with pytest.raises(ForbiddenStoreError, match="none of those"):
            consumer.next()
        assert consumer.next() == 1


def test_pickled_objects_in_events_can_be_refused(
    publisher: QueuePublisher, topic_queue: queue.Queue[bytes]
) -> None:
    with StreamProducer[Any](publisher) as producer:
        producer.send("t", threading.Event)
        producer.send("t", b"safe")
    consumer = StreamConsumer[Any](QueueSubscriber(topic_queue), allow=SAFE_SERIALIZERS)
    with pytest.raises(ForbiddenSerializerError):
        consumer.next_object()
    assert [b"safe"] == list(consumer.iter_objects())


def test_a_store_with_a_serializer_of_its_own_is_refused(publisher: QueuePublisher) -> None:
    with (
        Store("own", serializer=serialize) as store,
        pytest.raises(EventEncodingError, match="register_serializer"),
    ):
        StreamProducer[Any](publisher, default_store=store)


def test_a_batch_goes_when_it_has_enough_events(
    publisher: QueuePublisher, consumer: StreamConsumer[Any], topic_queue: queue.Queue[bytes]
) -> None:
    producer = StreamProducer[Any](publisher, batch_size=3)
    for number in range(7):
        producer.send("t", number)
    assert topic_queue.qsize() == 2
    producer.flush()
    assert topic_queue.qsize() == 3
    producer.close()
    assert list(range(7)) == list(consumer)


def test_a_batch_goes_when_it_has_enough_bytes(
    publisher: QueuePublisher, topic_queue: queue.Queue[bytes]
) -> None:
    producer = StreamProducer[Any](publisher, batch_size=100, batch_nbytes=5000)
    for _ in range(4):
        producer.send("t", b"x" * 2000)
    assert topic_queue.qsize() == 1
    producer.close()


def test_a_batch_goes_when_its_first_event_waited_long_enough(
    publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    producer = StreamProducer[Any](publisher, batch_size=100, batch_seconds=0.05)
    producer.send("t", 1)
    assert consumer.next() == 1
    producer.close()


def test_what_waits_in_a_batch_is_not_what_its_sender_changed_later(
    publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    array = np.zeros(10)
    with StreamProducer[Any](publisher, batch_size=10) as producer:
        producer.send("t", array)
        array += 1
    assert consumer.next_object().sum() == 0


def test_an_aggregator_makes_one_object_of_a_batch(
    publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    with StreamProducer[int](publisher, aggregator=sum, batch_size=3) as producer:
        for number in range(5):
            producer.send("t", number, metadata={"last": number, str(number): True})
    found = list(consumer.iter_objects_with_metadata())
    assert [3, 7] == [obj for _, obj in found]
    assert {"last": 2, "0": True, "1": True, "2": True} == found[0][0]


def test_filters_leave_out_what_they_say_true_to(
    store: Store[Any], publisher: QueuePublisher, topic_queue: queue.Queue[bytes]
) -> None:
    with StreamProducer[Any](
        publisher, default_store=store, filter_=lambda metadata: metadata["n"] == 0
    ) as producer:
        for number in range(4):
            producer.send("t", np.full(BIG, number), metadata={"n": number})
    consumer = StreamConsumer[Any](
        QueueSubscriber(topic_queue), filter_=lambda metadata: metadata["n"] == 1, timeout=5
    )
    assert [2, 3] == [int(array[0]) for array in consumer.iter_objects()]


def test_sampling_leaves_out_about_its_part() -> None:
    sampling = SamplingFilter(0.25, seed=7)
    assert 150 < sum(sampling({}) for _ in range(1000)) < 350
    assert not NullFilter()({})
    with pytest.raises(ValueError, match="from 0 to 1"):
        SamplingFilter(2)


def test_a_closed_topic_takes_nothing_more(
    publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    producer = StreamProducer[Any](publisher)
    producer.send("t", 1)
    producer.close_topics("t")
    producer.close_topics("t")
    with pytest.raises(TopicClosedError, match="'t'"):
        producer.send("t", 2)
    assert [1] == list(consumer)
    producer.close()
    producer.close()


def test_every_consumer_gets_one_end_when_the_last_producer_ended(
    publisher: QueuePublisher, topic_queue: queue.Queue[bytes]
) -> None:
    producers = [StreamProducer[Any](publisher, producers=3) for _ in range(3)]
    for number, producer in enumerate(producers):
        producer.send("t", number)
        producer.close(publisher=False)
    first, second = (StreamConsumer[Any](QueueSubscriber(topic_queue)) for _ in range(2))
    assert [0, 1, 2] == list(first)
    assert [] == list(second)
    assert [] == list(first)


def test_async_iteration_gives_what_sync_iteration_does(
    store: Store[Any], publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    async def scenario() -> tuple[list[int], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        found = [obj.size async for obj in consumer.aiter_objects()]
        ticking.cancel()
        return found, ticks

    def send() -> None:
        with StreamProducer[Any](publisher, default_store=store) as producer:
            for size in (1, BIG, 3):
                producer.send("t", np.zeros(size))

    sending = threading.Timer(0.05, send)
    sending.start()
    found, ticks = asyncio.run(scenario())
    assert [1, BIG, 3] == found
    assert ticks > 10, "the loop stood still while the consumer waited"
    consumer.close()


def test_async_iteration_ends_at_its_timeout(topic_queue: queue.Queue[bytes]) -> None:
    consumer = StreamConsumer[Any](QueueSubscriber(topic_queue), timeout=0.05)

    async def scenario() -> None:
        async for _ in consumer:
            raise AssertionError

    with pytest.raises(StreamTimeoutError):
        asyncio.run(scenario())
    consumer.close()


def test_a_bound_on_bytes_in_flight_blocks_the_producer_until_consumers_use_them(
    store: Store[Any], publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    array = np.zeros(100_000)
    bound = 3 * array.nbytes
    done = threading.Event()
    sent: list[int] = []

    def send() -> None:
        with StreamProducer[Any](
            publisher, default_store=store, max_nbytes_in_flight=bound
        ) as producer:
            for number in range(8):
                producer.send("t", array)
                sent.append(number)
        done.set()

    threading.Thread(target=send, daemon=True).start()
    assert not done.wait(0.3)
    assert len(sent) == 2
    assert len(list(consumer.iter_objects())) == 8
    assert done.wait(5)


def test_a_stalled_consumer_fails_a_bounded_send_at_its_timeout(
    store: Store[Any], publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    producer = StreamProducer[Any](
        publisher, default_store=store, max_nbytes_in_flight=BIG, send_timeout=0.05
    )
    # Larger by itself than the bound: it goes when nothing else is in flight.
    producer.send("t", b"x" * BIG * 2)
    with pytest.raises(StreamFullError, match="200000 bytes in flight"):
        producer.send("t", b"x" * BIG)
    consumer.next_object()
    producer.send("t", b"y" * BIG)
    producer.close()


def test_a_bound_does_not_wait_for_what_is_still_in_the_batch(
    store: Store[Any], publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    producer = StreamProducer[Any](
        publisher,
        default_store=store,
        batch_size=100,
        max_nbytes_in_flight=3 * BIG,
        send_timeout=5,
    )
    receiving = threading.Thread(target=lambda: list(consumer.iter_objects()), daemon=True)
    receiving.start()
    for _ in range(10):
        producer.send("t", b"x" * BIG)
    producer.close()
    receiving.join(10)
    assert not receiving.is_alive()


def test_what_arrives_twice_is_given_once(
    publisher: QueuePublisher, consumer: StreamConsumer[Any], topic_queue: queue.Queue[bytes]
) -> None:
    with StreamProducer[Any](publisher) as producer:
        for number in range(4):
            producer.send("t", number)
        messages = [topic_queue.get() for _ in range(4)]
        for at in (0, 0, 2, 1, 0, 3, 2):
            topic_queue.put(messages[at])
    assert [0, 2, 1, 3] == list(consumer)


def test_a_message_of_a_stranger_is_an_error_and_the_stream_goes_on(
    publisher: QueuePublisher, consumer: StreamConsumer[Any], topic_queue: queue.Queue[bytes]
) -> None:
    topic_queue.put(b"garbage")
    with StreamProducer[Any](publisher) as producer:
        producer.send("t", 1)
    with pytest.raises(BadEventError, match="fewer than any event"):
        consumer.next()
    assert [1] == list(consumer)


def test_a_poison_object_is_an_error_and_the_stream_goes_on(
    publisher: QueuePublisher, consumer: StreamConsumer[Any], topic_queue: queue.Queue[bytes]
) -> None:
    topic_queue.put(event_to_bytes(NewObjectEvent("t", b"no object", {}, "p", 0)))
    with StreamProducer[Any](publisher) as producer:
        producer.send("t", 1)
    iterator = consumer.iter_objects()
    with pytest.raises(SerializationError):
        next(iterator)
    assert [1] == list(iterator)


def test_what_a_broker_cannot_do_is_said(consumer: StreamConsumer[Any]) -> None:
    with pytest.raises(StreamCapabilityError, match="replay"):
        consumer.seek(0)
    with pytest.raises(StreamCapabilityError, match="groups"):
        consumer.reject()
    assert consumer.offset is None
    consumer.acknowledge()


def test_objects_of_a_batch_that_could_not_be_sent_are_evicted(store: Store[Any]) -> None:
    kept: list[Any] = []
    put = store.put
    store.put = lambda *args, **kwargs: kept.append(put(*args, **kwargs)) or kept[-1]  # type: ignore[method-assign]
    full: queue.Queue[bytes] = queue.Queue(1)
    full.put(b"")
    producer = StreamProducer[Any](QueuePublisher({"t": full}, timeout=0.01), default_store=store)
    with pytest.raises(StreamTimeoutError):
        producer.send("t", np.zeros(BIG))
    assert [False] == [store.exists(key) for key in kept]
