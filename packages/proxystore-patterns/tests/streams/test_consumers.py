"""What consumers do when they are cancelled, when something fails, when events are in disorder."""

from __future__ import annotations

import asyncio
import math
import queue
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.errors import ConnectorUnavailableError
from proxystore.serialize import serialize
from proxystore.store import Store
from proxystore_connectors_redis import RedisConnector
from proxystore_patterns.errors import (
    BadEventError,
    ProducerFailedError,
    StreamTimeoutError,
)
from proxystore_patterns.streams import (
    EventBatch,
    NewObjectEvent,
    ProducerFailedEvent,
    StreamConsumer,
    StreamProducer,
    event_to_bytes,
)
from proxystore_patterns.streams.brokers.queue import QueuePublisher, QueueSubscriber
from proxystore_patterns.testing import Broker

BIG = 200_000
WITHIN = 20.0


def of(number: int, producer: str = "p", **metadata: Any) -> NewObjectEvent:
    """The event of an object that is its number."""
    return NewObjectEvent("t", serialize(number), metadata, producer, number)


# --- Async ------------------------------------------------------------------------


async def cancelled(waiting: Any, seconds: float = 0.01) -> bool:
    """Whether there was nothing within a moment."""
    try:
        await asyncio.wait_for(waiting, seconds)
    except (TimeoutError, asyncio.CancelledError):
        return True
    return False


def test_a_cancelled_wait_loses_no_object_and_does_not_end_the_iterator(
    publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    producer = StreamProducer[Any](publisher)

    async def scenario() -> list[Any]:
        iterator = aiter(consumer)
        assert await cancelled(anext(iterator))
        for number in range(4):
            producer.send("t", number)
        first = await anext(iterator)
        producer.close()
        return [first, *[obj async for obj in iterator], *[obj async for obj in consumer]]

    assert [0, 1, 2, 3] == asyncio.run(scenario())
    consumer.close()


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_or_doubled_whenever_waits_are_cancelled(
    store: Store[Any], publisher: QueuePublisher, consumer: StreamConsumer[Any], seed: int
) -> None:
    chance = random.Random(seed)

    def send() -> None:
        with StreamProducer[Any](publisher, default_store=store, inline_nbytes=1000) as producer:
            for number in range(200):
                producer.send("t", np.full(1 + number % 2 * 1000, number))

    async def scenario() -> list[int]:
        found: list[int] = []
        views = [consumer.aiter_objects(), aiter(consumer)]
        while True:
            try:
                within = chance.choice([0, 0, 0.0001, 0.001, 1])
                obj = await asyncio.wait_for(anext(chance.choice(views)), within)
                found.append(int(obj[0]))
            except TimeoutError:
                continue
            except StopAsyncIteration:
                return found

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    assert list(range(200)) == asyncio.run(scenario())
    consumer.close()


@pytest.mark.parametrize("view", ["aiter_objects", "__aiter__"])
def test_an_object_that_a_cancelled_call_evicted_is_given_to_the_next(
    store: Store[Any], topic_queue: queue.Queue[bytes], publisher: QueuePublisher, view: str
) -> None:
    loading, go_on = threading.Event(), threading.Event()
    get = store.get

    def slow_get(*args: Any, **options: Any) -> Any:
        loading.set()
        assert go_on.wait(WITHIN)
        return get(*args, **options)

    store.get = slow_get  # type: ignore[method-assign]
    with StreamProducer[Any](publisher, default_store=store) as producer:
        for number in range(2):
            producer.send("t", np.full(BIG, number))
    consumer = StreamConsumer[Any](QueueSubscriber(topic_queue), stores=[store], timeout=WITHIN)

    async def scenario() -> list[int]:
        task = asyncio.ensure_future(anext(consumer.aiter_objects()))
        await asyncio.to_thread(loading.wait, WITHIN)
        task.cancel()
        assert await cancelled(task)
        go_on.set()
        return [int(array[0]) async for array in getattr(consumer, view)()]

    assert [0, 1] == asyncio.run(scenario())
    consumer.close()


def test_a_call_that_waits_gets_what_a_cancelled_one_was_to_get(
    publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    async def scenario() -> None:
        assert await cancelled(anext(consumer.aiter_with_metadata()))

    asyncio.run(scenario())
    with StreamProducer[Any](publisher) as producer:
        producer.send("t", 1)
        producer.send("t", 2)
    # Not waiting for the thread: it may have the first object by now.
    assert [1, 2] == list(consumer.iter_objects())
    consumer.close()


def test_tasks_share_a_consumer_and_none_gets_what_another_got(
    publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    async def work(found: list[int]) -> None:
        found += [obj async for obj in consumer]

    async def scenario() -> list[int]:
        found: list[int] = []
        await asyncio.gather(*(work(found) for _ in range(5)))
        return found

    with StreamProducer[Any](publisher) as producer:
        for number in range(100):
            producer.send("t", number)
    assert list(range(100)) == sorted(asyncio.run(scenario()))
    consumer.close()


@pytest.fixture
def faulty(
    topic_queue: queue.Queue[bytes], publisher: QueuePublisher
) -> Iterator[StreamConsumer[Any]]:
    """Its stream has everything that can be wrong with an event between 0 and 3."""

    def strict(metadata: dict[str, Any]) -> bool:
        if "raises" in metadata:
            raise StopIteration
        return False

    publisher.begin("t", "p")
    for message in (
        event_to_bytes(of(0)),
        b"garbage",
        event_to_bytes(NewObjectEvent("t", b"poison", {}, "p", 1)),
        event_to_bytes(of(2, raises=True)),
        event_to_bytes(ProducerFailedEvent("t", "an error", "q", 0)),
        event_to_bytes(of(3)),
    ):
        topic_queue.put(message)
    publisher.end("t", "p")
    with StreamConsumer[Any](
        QueueSubscriber(topic_queue), filter_=strict, timeout=WITHIN
    ) as consumer:
        yield consumer


ERRORS = ["BadEventError", "CorruptObjectError", "RuntimeError", "ProducerFailedError"]


def test_errors_about_one_event_end_no_iterator(faulty: StreamConsumer[Any]) -> None:
    iterator, found = faulty.iter_objects(), []
    for _ in range(6):
        try:
            found.append(next(iterator))
        except Exception as exc:
            found.append(type(exc).__name__)
    assert [0, *ERRORS, 3] == found
    assert [] == list(iterator)


def test_errors_about_one_event_end_no_async_iterator(faulty: StreamConsumer[Any]) -> None:
    async def scenario() -> list[Any]:
        iterator, found = faulty.aiter_objects(), []
        for _ in range(6):
            try:
                found.append(await anext(iterator))
            except Exception as exc:
                found.append(type(exc).__name__)
        return [*found, *[obj async for obj in iterator]]

    assert [0, *ERRORS, 3] == asyncio.run(scenario())


def test_an_error_that_came_for_a_cancelled_wait_is_told_to_the_next(
    topic_queue: queue.Queue[bytes], publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    async def scenario() -> None:
        iterator = aiter(consumer)
        assert await cancelled(anext(iterator))
        publisher.begin("t", "p")
        topic_queue.put(b"garbage")
        with pytest.raises(BadEventError):
            await anext(iterator)
        publisher.end("t", "p")
        with pytest.raises(StopAsyncIteration):
            await anext(iterator)

    asyncio.run(scenario())
    consumer.close()


# --- Options ----------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [-1, math.nan, math.inf, 1e12, "x", True])
def test_a_timeout_that_makes_no_sense_is_refused(timeout: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^timeout takes .*, not {timeout!r}\\.$"):
        StreamConsumer[Any](QueueSubscriber(queue.Queue()), timeout=timeout)


@pytest.mark.parametrize("wrong", [None, "t", QueuePublisher({})])
def test_what_is_no_subscriber_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^subscriber takes a Subscriber of a broker, not"):
        StreamConsumer[Any](wrong)


def test_a_timeout_of_nothing_takes_what_is_there(
    publisher: QueuePublisher, topic_queue: queue.Queue[bytes]
) -> None:
    consumer = StreamConsumer[Any](QueueSubscriber(topic_queue), timeout=0)
    StreamProducer[Any](publisher).send("t", 1)
    assert consumer.next() == 1
    with pytest.raises(StreamTimeoutError):
        consumer.next()


# --- Disorder ---------------------------------------------------------------------


@given(st.lists(st.integers(0, 19), min_size=1, max_size=60), st.integers(1, 5), st.data())
def test_each_object_is_given_once_in_whatever_order_and_batches_and_however_often_it_comes(
    order: list[int], batch: int, data: Any
) -> None:
    topic_queue: queue.Queue[bytes] = queue.Queue()
    publisher = QueuePublisher({"t": topic_queue})
    for producer in ("p", "q"):
        publisher.begin("t", producer)
    events = [of(number, data.draw(st.sampled_from("pq"))) for number in order]
    for first in range(0, len(events), batch):
        topic_queue.put(event_to_bytes(EventBatch("t", events[first : first + batch])))
    for producer in ("p", "q"):
        publisher.end("t", producer)
    consumer = StreamConsumer[Any](QueueSubscriber(topic_queue), timeout=WITHIN)
    first_of_each = dict.fromkeys((event.producer, event.sequence) for event in events)
    assert [number for _, number in first_of_each] == list(consumer.iter_objects())


def test_an_event_that_comes_late_is_given_however_many_came_before(
    topic_queue: queue.Queue[bytes], publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    publisher.begin("t", "p")
    for number in [*range(1, 12_000), 0]:
        topic_queue.put(event_to_bytes(of(number)))
    publisher.end("t", "p")
    assert [*range(1, 12_000), 0] == list(consumer.iter_objects())


# --- Groups -----------------------------------------------------------------------


def test_an_event_whose_filter_raises_is_given_back_and_dies_after_its_tries(
    group_broker: Broker,
) -> None:
    topic = group_broker.topic()
    with StreamProducer[Any](group_broker.make_publisher()) as producer:
        for number in range(3):
            producer.send(topic, number, metadata={} if number == 1 else {"step": number})
    consumer = StreamConsumer[Any](
        group_broker.make_subscriber(topic),
        timeout=WITHIN,
        filter_=lambda metadata: metadata["step"] < 0,
    )
    found: Counter[Any] = Counter()
    while True:
        try:
            found[consumer.next()] += 1
        except KeyError as exc:
            found[str(exc)] += 1
        except StopIteration:
            break
    assert {0: 1, "'step'": 2, 2: 1} == found
    dead = StreamConsumer[Any](group_broker.dead_letters(topic), timeout=WITHIN)
    assert dead.next() == 1
    consumer.close()


@pytest.mark.slow
def test_a_group_gets_again_what_could_not_be_had_while_its_store_was_away(
    group_broker: Broker, start_redis: Any
) -> None:
    server = start_redis()
    url = f"redis://127.0.0.1:{server.port}?timeout=0.2"
    topic = group_broker.topic()
    with Store("away", RedisConnector.from_url(url)) as store:
        with StreamProducer[Any](group_broker.make_publisher(), default_store=store) as producer:
            for number in range(3):
                producer.send(topic, np.full(BIG, number))
        consumer = StreamConsumer[Any](group_broker.make_subscriber(topic), timeout=WITHIN)
        iterator = consumer.iter_objects()
        assert next(iterator)[0] == 0
        consumer.acknowledge()
        server.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(ConnectorUnavailableError):
                next(iterator)
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert [1, 2] == sorted(int(array[0]) for array in iterator)
        consumer.close()
        with server.client() as client:
            # That of the connector itself.
            assert client.dbsize() == 1


def test_a_member_that_dies_of_a_failed_producer_leaves_it_to_another(
    group_broker: Broker,
) -> None:
    topic = group_broker.topic()
    with (
        pytest.raises(ZeroDivisionError),
        StreamProducer[Any](group_broker.make_publisher()) as producer,
    ):
        producer.send(topic, 1)
        raise ZeroDivisionError("by zero")
    dying = StreamConsumer[Any](group_broker.make_subscriber(topic), timeout=WITHIN)
    assert dying.next() == 1
    with pytest.raises(ProducerFailedError, match="ZeroDivisionError: by zero"):
        dying.next()
    dying.close()
    another = StreamConsumer[Any](group_broker.make_subscriber(topic), timeout=WITHIN)
    with pytest.raises(ProducerFailedError):
        another.next()
    assert [] == list(another)
    another.close()
