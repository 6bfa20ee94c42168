"""What producers refuse, what they wait for, and how their topics end when something failed."""

from __future__ import annotations

import math
import multiprocessing
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from proxystore.errors import ClosedError
from proxystore.store import Store
from proxystore_patterns.errors import (
    EndOfStreamError,
    EventEncodingError,
    ProducerFailedError,
    StreamFullError,
    StreamTimeoutError,
)
from proxystore_patterns.streams import StreamConsumer, StreamProducer
from proxystore_patterns.streams.brokers.queue import (
    ProcessQueue,
    QueuePublisher,
    QueueSubscriber,
)

BIG = 200_000
WITHIN = 10.0


@pytest.fixture
def queues() -> dict[str, queue.Queue[bytes]]:
    return {topic: queue.Queue() for topic in ("a", "b")}


def received(of: queue.Queue[bytes]) -> list[Any]:
    """All of a stream."""
    return list(StreamConsumer[Any](QueueSubscriber(of), timeout=WITHIN).iter_objects())


def count_of(store: Store[Any]) -> int:
    return sum(1 for _ in store.connector.entries())  # type: ignore[attr-defined]


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- What is refused --------------------------------------------------------------


@pytest.mark.parametrize("aggregator", [None, list])
def test_metadata_that_cannot_be_sent_is_an_error_of_its_send_and_of_nothing_else(
    store: Store[Any], publisher: QueuePublisher, consumer: StreamConsumer[Any], aggregator: Any
) -> None:
    producer = StreamProducer[Any](
        publisher, default_store=store, batch_size=10, aggregator=aggregator
    )
    producer.send("t", 1)
    with pytest.raises(EventEncodingError, match=r"'bad'.*type object"):
        producer.send("t", np.zeros(BIG), metadata={"fine": 1, "bad": object()})
    assert count_of(store) == 0
    producer.send("t", 2)
    producer.close()
    assert ([[1, 2]] if aggregator else [1, 2]) == list(consumer.iter_objects())


@pytest.mark.parametrize("metadata", [[1], "text", 7])
def test_metadata_that_is_no_dict_is_refused(publisher: QueuePublisher, metadata: Any) -> None:
    with pytest.raises(EventEncodingError, match="metadata"):
        StreamProducer[Any](publisher).send("t", 1, metadata=metadata)


@pytest.mark.parametrize("topic", ["x" * 70_000, "\ud800", 3, None])
def test_a_topic_that_cannot_be_sent_is_refused_before_the_broker_hears_of_it(topic: Any) -> None:
    with pytest.raises(EventEncodingError, match="topic"):
        StreamProducer[Any](QueuePublisher({})).send(topic, 1)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("producers", 0),
        ("producers", -3),
        ("producers", 1.5),
        ("inline_nbytes", -1),
        ("inline_nbytes", "x"),
        ("batch_size", 0),
        ("batch_size", math.inf),
        ("batch_size", "x"),
        ("batch_nbytes", -1),
        ("batch_seconds", 0),
        ("batch_seconds", math.nan),
        ("batch_seconds", math.inf),
        ("max_nbytes_in_flight", 0),
        ("max_nbytes_in_flight", math.nan),
        ("send_timeout", -1),
        ("send_timeout", math.inf),
        ("send_timeout", math.nan),
        ("send_timeout", True),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_name(
    publisher: QueuePublisher, option: str, value: Any
) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{option} takes .*, not {value!r}\\.$"):
        StreamProducer[Any](publisher, **{option: value})


@pytest.mark.parametrize("wrong", [None, "t", QueueSubscriber(queue.Queue())])
def test_what_is_no_publisher_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^publisher takes a Publisher of a broker, not"):
        StreamProducer[Any](wrong)


def test_a_send_timeout_of_nothing_does_not_wait(
    store: Store[Any], publisher: QueuePublisher
) -> None:
    producer = StreamProducer[Any](
        publisher, default_store=store, send_timeout=0, max_nbytes_in_flight=BIG
    )
    producer.send("t", b"x" * BIG)
    with pytest.raises(StreamFullError, match="within 0 s"):
        producer.send("t", b"x" * BIG)


def test_an_object_whose_event_cannot_be_made_does_not_stay(
    store: Store[Any], publisher: QueuePublisher
) -> None:
    producer = StreamProducer[Any](
        publisher, default_store=store, max_nbytes_in_flight=BIG + 3000, send_timeout=0
    )
    plain_key = store.plain_key
    store.plain_key = lambda key: (object(),)  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(EventEncodingError, match="type object"):
            producer.send("t", b"x" * BIG)
    assert count_of(store) == 0
    store.plain_key = plain_key  # type: ignore[method-assign]
    producer.send("t", b"x" * BIG)


# --- Bounds -----------------------------------------------------------------------


def test_a_topic_that_waits_for_room_holds_up_no_small_objects_of_others(
    store: Store[Any], queues: dict[str, Any]
) -> None:
    producer = StreamProducer[Any](
        QueuePublisher(queues), default_store=store, max_nbytes_in_flight=BIG, send_timeout=WITHIN
    )
    producer.send("a", b"x" * BIG)
    waiting = threading.Thread(target=producer.send, args=("a", b"y" * BIG), daemon=True)
    waiting.start()
    producer.send("b", "small")
    producer.close_topics("b")
    assert waiting.is_alive()
    assert ["small"] == received(queues["b"])
    consumer = StreamConsumer[Any](QueueSubscriber(queues["a"]), timeout=WITHIN)
    assert [BIG, BIG] == [len(consumer.next_object()) for _ in range(2)]
    waiting.join(WITHIN)
    producer.close()


def test_the_bound_holds_for_threads_that_send_at_once_and_for_what_waits_in_batches(
    store: Store[Any], queues: dict[str, Any]
) -> None:
    """Both batches together are over the bound, and nobody fills either."""
    most = 0
    done = threading.Event()
    producer = StreamProducer[Any](
        QueuePublisher(queues),
        default_store=store,
        batch_size=100,
        max_nbytes_in_flight=3 * BIG + 3000,
        send_timeout=WITHIN,
    )

    def send(topic: str) -> None:
        for _ in range(5):
            producer.send(topic, b"x" * BIG)
        producer.close_topics(topic)

    def watch() -> None:
        nonlocal most
        while not done.wait(0.001):
            most = max(most, count_of(store))

    found: dict[str, int] = {}

    def consume(topic: str) -> None:
        found[topic] = len(received(queues[topic]))

    threads = [
        threading.Thread(target=target, args=(topic,), daemon=True)
        for topic in queues
        for target in (send, consume)
    ]
    watching = threading.Thread(target=watch, daemon=True)
    for thread in [watching, *threads]:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)
    done.set()
    watching.join(WITHIN)
    assert {"a": 5, "b": 5} == found
    assert 1 <= most <= 3


def test_room_is_there_again_after_what_took_it_was_not_sent(
    store: Store[Any], queues: dict[str, Any]
) -> None:
    producer = StreamProducer[Any](
        QueuePublisher({"a": queue.Queue(1), "b": queues["b"]}, timeout=0.01),
        default_store=store,
        max_nbytes_in_flight=BIG + 3000,
        send_timeout=0.2,
    )
    producer.send("a", "fills the queue")
    for _ in range(3):
        with pytest.raises(StreamTimeoutError, match="room in the queue"):
            producer.send("a", b"x" * BIG)
    producer.send("b", b"x" * BIG)
    with pytest.raises(StreamFullError):
        producer.send("b", b"x" * BIG)


@pytest.mark.parametrize("make_queue", [queue.Queue, ProcessQueue])
def test_a_stalled_consumer_of_a_bounded_queue_stops_its_producer_and_loses_nothing(
    store: Store[Any], make_queue: Callable[[int], Any]
) -> None:
    bounded = make_queue(3)
    publisher = QueuePublisher({"t": bounded}, timeout=0.05)
    producer = StreamProducer[Any](publisher, default_store=store)
    for number in range(3):
        producer.send("t", bytes([number]) * BIG)
    for _ in range(2):
        with pytest.raises(StreamTimeoutError, match="See that the other side runs"):
            producer.send("t", b"x" * BIG)
    assert count_of(store) == 3, "what was not sent must not stay"
    consumer = StreamConsumer[Any](QueueSubscriber(bounded), timeout=WITHIN)
    assert [0, 1] == [consumer.next_object()[0] for _ in range(2)]
    producer.send("t", b"\3" * BIG)
    producer.close()
    assert [2, 3] == [obj[0] for obj in consumer.iter_objects()]
    assert count_of(store) == 0


def test_flushing_sends_the_batches_of_all_topics_that_it_can(queues: dict[str, Any]) -> None:
    producer = StreamProducer[Any](QueuePublisher(queues), batch_size=10, aggregator=raising)
    for a, b in (("bad", "good"), ("good", "bad")):
        producer.send("a", a)
        producer.send("b", b)
        with pytest.raises(ValueError, match="add these up"):
            producer.flush()
    producer.close()
    assert [["good"]] == received(queues["a"]) == received(queues["b"])


# --- Ends -------------------------------------------------------------------------


def raising(batch: list[Any]) -> Any:
    if "bad" in batch:
        raise ValueError("cannot add these up")
    return batch


def test_closing_ends_every_topic_that_it_can_and_tells_consumers_of_the_others(
    queues: dict[str, Any],
) -> None:
    producer = StreamProducer[Any](QueuePublisher(queues), batch_size=10, aggregator=raising)
    producer.send("a", "bad")
    producer.send("b", "good")
    with pytest.raises(ValueError, match="add these up"):
        producer.close()
    assert [["good"]] == received(queues["b"])
    with pytest.raises(ProducerFailedError, match=r"'a'.*ValueError: cannot add these up"):
        received(queues["a"])
    producer.close()


def test_consumers_are_told_that_the_block_of_a_producer_raised(
    store: Store[Any], publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    with (
        pytest.raises(RuntimeError, match="blew up"),
        StreamProducer[Any](publisher, default_store=store, batch_size=10) as producer,
    ):
        producer.send("t", 1)
        producer.send("t", np.zeros(BIG))
        raise RuntimeError("the simulation blew up")
    iterator = consumer.iter_objects()
    assert [1, BIG] == [next(iterator), next(iterator).size]
    with pytest.raises(ProducerFailedError, match=r"'t'.*RuntimeError: the simulation blew up"):
        next(iterator)
    assert [] == list(iterator)


def test_a_stream_goes_on_with_its_other_producers_after_one_failed(
    publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    other = StreamProducer[Any](publisher)
    other.open_topics("t")
    with pytest.raises(KeyboardInterrupt), StreamProducer[Any](publisher) as failing:
        failing.open_topics("t")
        raise KeyboardInterrupt
    other.send("t", 1)
    other.close()
    with pytest.raises(ProducerFailedError, match="KeyboardInterrupt"):
        consumer.next()
    assert [1] == list(consumer)


def test_nothing_can_be_sent_after_close(queues: dict[str, Any]) -> None:
    producer = StreamProducer[Any](QueuePublisher(queues))
    producer.send("a", 1)
    producer.close()
    for topic in queues:
        with pytest.raises(ClosedError, match="StreamProducer"):
            producer.send(topic, 2)
    with pytest.raises(ClosedError):
        producer.open_topics("b")
    producer.close()
    assert [1] == received(queues["a"])
    assert queues["b"].empty()


def test_a_batch_that_cannot_be_made_by_time_is_told_once_and_later_ones_leave_by_time(
    publisher: QueuePublisher, consumer: StreamConsumer[Any]
) -> None:
    aggregated = threading.Event()

    def aggregate(batch: list[Any]) -> Any:
        aggregated.set()
        return raising(batch)

    producer = StreamProducer[Any](
        publisher, batch_size=100, batch_seconds=0.02, aggregator=aggregate
    )
    producer.send("t", "bad")
    assert aggregated.wait(WITHIN)
    # The thread of the timer keeps the error under the lock that flush() needs too.
    wait_until(lambda: producer._outboxes["t"].failure is not None)
    with pytest.raises(ValueError, match="add these up"):
        producer.send("t", "not sent")
    producer.send("t", "by time")
    assert ["by time"] == consumer.next()
    producer.send("t", "bad")
    wait_until(lambda: producer._outboxes["t"].failure is not None)
    with pytest.raises(ValueError, match="add these up"):
        producer.close()
    with pytest.raises(ProducerFailedError):
        consumer.next()


def test_an_error_of_one_topic_is_not_told_to_who_sends_to_another(
    store: Store[Any], queues: dict[str, Any]
) -> None:
    producer = StreamProducer[Any](
        QueuePublisher({"a": queue.Queue(1), "b": queues["b"]}, timeout=0.01),
        default_store=store,
        batch_size=2,
        max_nbytes_in_flight=BIG + 3000,
        send_timeout=WITHIN,
    )
    producer.send("a", "fills the queue")
    producer.flush()
    producer.send("a", b"x" * BIG)
    # Needs the room that the other has, whose batch cannot be sent.
    producer.send("b", b"y" * BIG)
    with pytest.raises(StreamTimeoutError, match="room in the queue"):
        producer.flush_topic("a")


def test_a_thread_that_comes_to_wait_for_room_holds_back_no_batch_that_takes_it(
    store: Store[Any], queues: dict[str, Any]
) -> None:
    """Its lock is held when the other one looks for batches to send."""
    there, go_on = threading.Event(), threading.Event()

    def hold(metadata: dict[str, Any]) -> bool:
        if metadata:
            there.set()
            assert go_on.wait(WITHIN)
        return False

    producer = StreamProducer[Any](
        QueuePublisher(queues),
        default_store=store,
        filter_=hold,
        batch_size=100,
        max_nbytes_in_flight=2 * BIG,
        send_timeout=WITHIN,
    )
    producer.send("b", b"x" * BIG)
    held = {"metadata": {"hold": True}}
    second = threading.Thread(
        target=producer.send, args=("b", b"x" * BIG), kwargs=held, daemon=True
    )
    second.start()
    assert there.wait(WITHIN)
    first = threading.Thread(target=producer.send, args=("a", b"x" * BIG * 2), daemon=True)
    first.start()
    wait_until(producer._credit._turn.locked)
    go_on.set()
    consumer = StreamConsumer[Any](QueueSubscriber(queues["b"]), timeout=WITHIN)
    assert len(consumer.next_object()) == BIG
    first.join(WITHIN)
    producer.flush_topic("a")
    assert len(StreamConsumer[Any](QueueSubscriber(queues["a"])).next_object()) == BIG * 2
    second.join(WITHIN)
    assert not first.is_alive()
    assert not second.is_alive()
    producer.close()


@pytest.mark.slow
def test_what_a_forked_child_sends_is_not_taken_for_its_parents() -> None:
    context = multiprocessing.get_context("fork")
    between = ProcessQueue(context=context)
    producer = StreamProducer[Any](QueuePublisher({"t": between}), producers=2)
    producer.send("t", "before")

    def send() -> None:
        producer.send("t", "child")
        producer.close()

    child = context.Process(target=send, daemon=True)
    child.start()
    child.join(WITHIN)
    assert child.exitcode == 0
    producer.send("t", "parent")
    producer.close()
    subscriber = QueueSubscriber(between)
    consumer = StreamConsumer[Any](subscriber, timeout=WITHIN)
    assert ["before", "child", "parent"] == sorted(consumer)
    with pytest.raises(EndOfStreamError):
        subscriber.next_message(WITHIN)
