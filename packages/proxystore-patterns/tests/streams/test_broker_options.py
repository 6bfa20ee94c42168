"""Mistakes of users of brokers are answered where they are made, by what to give instead."""

from __future__ import annotations

import queue
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

pytest.importorskip("zmq", reason="pyzmq is missing")
pytest.importorskip("pika", reason="pika is missing")
pytest.importorskip("confluent_kafka", reason="confluent-kafka is missing")

from proxystore.errors import ClosedError
from proxystore_patterns.errors import BrokerUnavailableError
from proxystore_patterns.streams.brokers import kafka, rabbitmq, redis, zmq
from proxystore_patterns.streams.brokers.queue import QueuePublisher, QueueSubscriber

NOBODY = ("127.0.0.1", 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: redis.RedisPublisher(*NOBODY, lease=0), "lease"),
        (lambda: redis.RedisPublisher(*NOBODY, lease=float("nan")), "lease"),
        (lambda: redis.RedisStreamPublisher(*NOBODY, maxlen=0), "maxlen"),
        (lambda: redis.RedisQueueSubscriber(*NOBODY, ""), "empty"),
        (lambda: redis.RedisQueueSubscriber(*NOBODY, "t", retry_for=-1), "retry_for"),
        (lambda: redis.RedisQueueSubscriber(*NOBODY, "t", timeout=-1), "timeout"),
        (lambda: redis.RedisStreamSubscriber(*NOBODY, "t", start="first"), "'0', '\\$' or one"),
        (lambda: rabbitmq.RabbitMQPublisher("localhost"), "amqp://user:password@host"),
        (lambda: rabbitmq.RabbitMQPublisher("redis://:secret@host"), "begin with amqp://"),
        (lambda: rabbitmq.RabbitMQSubscriber("amqp://x", "t", max_deliveries=0), "max_deliv"),
        (lambda: kafka.KafkaPublisher("x:1", options={"acknowledge": 1}), '"acknowledge"'),
        (lambda: QueuePublisher({}, timeout=-1), "timeout takes"),
        (lambda: QueueSubscriber(queue.Queue(), timeout=-1), "timeout takes"),
        (lambda: zmq.ZeroMQPublisher("127.0.0.1", 99_999), "1 to 65535"),
        (lambda: zmq.ZeroMQSubscriber("127.0.0.1", 99_999, topic="t"), "1 to 65535"),
        (lambda: zmq.ZeroMQPublisher("127.0.0.1", 5_999, subscribers=-1), "subscribers"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("make", [lambda: QueueSubscriber(5), lambda: QueuePublisher({"t": 5})])
def test_what_is_no_queue_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=r"queue\.Queue or a ProcessQueue, not 5"):
        make()


@pytest.mark.parametrize("timeout", ["3", True])
def test_a_timeout_of_a_queue_that_is_no_number_is_refused(timeout: Any) -> None:
    for make in (partial(QueuePublisher, {}), partial(QueueSubscriber, queue.Queue())):
        with pytest.raises(TypeError, match="timeout takes a finite number"):
            make(timeout=timeout)


def test_an_address_that_is_none_is_named() -> None:
    with pytest.raises(BrokerUnavailableError, match="no such host"):
        zmq.ZeroMQSubscriber("no such host", 5_999, topic="t")


def test_what_is_closed_says_so(redis_server: Any, free_port: Callable[[], int]) -> None:
    publisher = redis.RedisQueuePublisher(*redis_server.place)
    subscribers: list[Any] = [
        redis.RedisQueueSubscriber(*redis_server.place, "closed"),
        zmq.ZeroMQSubscriber("127.0.0.1", free_port(), topic="t"),
    ]
    publisher.close()
    with pytest.raises(ClosedError):
        publisher.send_message("closed", b"x")
    for subscriber in subscribers:
        subscriber.close()
        with pytest.raises(ClosedError):
            subscriber.next_message(0.1)


def test_a_name_that_is_used_otherwise_is_said_to_be(redis_server: Any) -> None:
    with redis_server.client() as client:
        client.set("used otherwise", "x")
    publisher = redis.RedisQueuePublisher(*redis_server.place)
    with pytest.raises(BrokerUnavailableError, match="give the topic another one"):
        publisher.send_message("used otherwise", b"x")
    publisher.close()


def test_a_topic_without_a_queue_names_those_that_have_one() -> None:
    with pytest.raises(KeyError, match="'t'"):
        QueuePublisher({"t": queue.Queue()}).begin("u", "p")
