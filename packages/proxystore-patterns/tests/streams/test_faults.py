"""kill -9 of producers, consumers and brokers, with real processes and real servers."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxystore_patterns.errors import (
    BrokerUnavailableError,
    ProducersLostError,
    StreamTimeoutError,
)
from proxystore_patterns.streams import StreamConsumer, StreamProducer
from proxystore_patterns.streams.brokers.redis import (
    RedisGroupSubscriber,
    RedisPublisher,
    RedisQueuePublisher,
    RedisQueueSubscriber,
    RedisStreamPublisher,
    RedisStreamSubscriber,
    RedisSubscriber,
)

pytestmark = pytest.mark.slow

KINDS: dict[str, tuple[Any, Any]] = {
    "list": (RedisQueuePublisher, RedisQueueSubscriber),
    "channel": (RedisPublisher, RedisSubscriber),
    "stream": (RedisStreamPublisher, RedisStreamSubscriber),
    "group": (RedisStreamPublisher, partial(RedisGroupSubscriber, group="g")),
}

# Arguments: an expression of a publisher, and what to do at the end.
PRODUCER = """
import sys
from proxystore_patterns.streams import StreamProducer
from proxystore_patterns.streams.brokers import {module} as broker
producer = StreamProducer(broker.{publisher})
for number in range(3):
    producer.send("t", number)
print("sent", flush=True)
sys.stdin.read()
"""

CONSUMER = """
import sys
from proxystore_patterns.streams import StreamConsumer
from proxystore_patterns.streams.brokers import {module} as broker
consumer = StreamConsumer(broker.{subscriber}, timeout=20)
for obj in consumer.iter_objects():
    print(obj, flush=True)
    if len(sys.argv) > 1 and str(obj) == sys.argv[1]:
        sys.stdin.read()
"""


@pytest.fixture
def run() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a program in a process of its own, killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(source: str, *arguments: str, **places: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", source.format(**places), *arguments]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(10)


@pytest.mark.parametrize(
    ("publisher", "subscriber"),
    [
        ("RedisQueuePublisher", RedisQueueSubscriber),
        ("RedisStreamPublisher", RedisStreamSubscriber),
        ("RedisPublisher", RedisSubscriber),
    ],
)
def test_consumers_notice_a_killed_producer_by_its_lease(
    start_redis: Any, run: Any, publisher: str, subscriber: Any
) -> None:
    place = start_redis().place
    consumer = StreamConsumer[int](subscriber(*place, "t"), timeout=20)
    made = f"{publisher}(*{place}, lease=1.0)"
    producer = run(PRODUCER, module="redis", publisher=made)
    assert producer.stdout.readline() == "sent\n"
    kill(producer)
    iterator = iter(consumer)
    assert [0, 1, 2] == [next(iterator) for _ in range(3)]
    with pytest.raises(ProducersLostError, match="leases"):
        next(iterator)
    consumer.close()


def test_a_producer_that_lives_and_sends_nothing_is_not_lost(redis_server: Any) -> None:
    place, topic = redis_server.place, "idle"
    with StreamProducer[int](RedisQueuePublisher(*place, lease=0.3)) as producer:
        producer.open_topics(topic)
        consumer = StreamConsumer[int](RedisQueueSubscriber(*place, topic), timeout=1.0)
        with pytest.raises(StreamTimeoutError):
            consumer.next()
    assert [] == list(consumer)
    consumer.close()


def test_a_topic_goes_on_after_a_killed_producer_while_another_lives(
    start_redis: Any, run: Any
) -> None:
    place = start_redis().place
    with StreamProducer[int](RedisQueuePublisher(*place)) as survivor:
        survivor.open_topics("t")
        made = f"RedisQueuePublisher(*{place}, lease=0.3)"
        killed = run(PRODUCER, module="redis", publisher=made)
        assert killed.stdout.readline() == "sent\n"
        kill(killed)
        consumer = StreamConsumer[int](RedisQueueSubscriber(*place, "t"), timeout=1.5)
        assert [0, 1, 2] == [consumer.next() for _ in range(3)]
        with pytest.raises(StreamTimeoutError):
            consumer.next()
        survivor.send("t", 3)
        assert consumer.next() == 3
    with pytest.raises(ProducersLostError):
        consumer.next()
    consumer.close()


def test_another_member_gets_what_a_killed_consumer_was_using(start_redis: Any, run: Any) -> None:
    place = start_redis().place
    with StreamProducer[int](RedisStreamPublisher(*place)) as producer:
        for number in range(6):
            producer.send("t", number)
    made = f"RedisGroupSubscriber(*{place}, 't', group='g', redeliver_after=0.2)"
    victim = run(CONSUMER, "2", module="redis", subscriber=made)
    assert ["0\n", "1\n", "2\n"] == [victim.stdout.readline() for _ in range(3)]
    kill(victim)
    survivor = StreamConsumer[int](
        RedisGroupSubscriber(*place, "t", group="g", redeliver_after=0.2), timeout=20
    )
    assert [2, 3, 4, 5] == sorted(survivor.iter_objects())
    survivor.close()


@pytest.mark.parametrize("kind", ["list", "stream", "group"])
def test_a_stream_survives_kill_9_of_a_server_that_appends(start_redis: Any, kind: str) -> None:
    server = start_redis("--appendonly", "yes")
    make_publisher = RedisQueuePublisher if kind == "list" else RedisStreamPublisher
    subscriber: Any = {
        "list": lambda: RedisQueueSubscriber(*server.place, "t"),
        "stream": lambda: RedisStreamSubscriber(*server.place, "t"),
        "group": lambda: RedisGroupSubscriber(*server.place, "t", group="g"),
    }[kind]()
    consumer = StreamConsumer[int](subscriber, timeout=20)
    producer = StreamProducer[int](make_publisher(*server.place))
    for number in range(3):
        producer.send("t", number)
    assert [0, 1] == [consumer.next() for _ in range(2)]
    consumer.acknowledge()
    server.kill()
    sending = threading.Thread(target=producer.send, args=("t", 3))
    sending.start()
    server.start()
    sending.join(20)
    producer.close()
    assert [2, 3] == list(consumer)
    consumer.close()


def test_a_server_that_stays_away_is_an_error_for_both_sides(start_redis: Any) -> None:
    server = start_redis()
    producer = StreamProducer[int](RedisQueuePublisher(*server.place, retry_for=0.2))
    consumer = StreamConsumer[int](RedisQueueSubscriber(*server.place, "t", retry_for=0.2))
    producer.send("t", 1)
    assert consumer.next() == 1
    server.kill()
    with pytest.raises(BrokerUnavailableError, match=f"redis at 127.0.0.1:{server.port}"):
        producer.send("t", 2)
    with pytest.raises(BrokerUnavailableError, match="See that it runs"):
        consumer.next()


@pytest.mark.parametrize("kind", ["list", "channel", "stream", "group"])
def test_a_run_begins_anew_after_one_whose_producer_was_killed(
    start_redis: Any, run: Any, kind: str
) -> None:
    place = start_redis().place
    publisher, make_subscriber = KINDS[kind]
    first = StreamConsumer[int](make_subscriber(*place, "t"), timeout=20)
    killed = run(PRODUCER, module="redis", publisher=f"{publisher.__name__}(*{place}, lease=0.5)")
    assert killed.stdout.readline() == "sent\n"
    kill(killed)
    assert [0, 1, 2] == [first.next() for _ in range(3)]
    with pytest.raises(ProducersLostError):
        first.next()
    first.close()
    options = {"start": "$"} if kind == "stream" else {}
    second = StreamConsumer[int](make_subscriber(*place, "t", **options), timeout=0.3)
    with pytest.raises(StreamTimeoutError):
        second.next()
    with StreamProducer[int](publisher(*place)) as producer:
        producer.send("t", 3)
    assert [3] == list(second)
    second.close()


def test_keys_of_a_stream_that_is_over_expire(start_redis: Any) -> None:
    server = start_redis()
    with StreamProducer[int](RedisQueuePublisher(*server.place)) as producer:
        producer.send("t", 1)
    consumer = StreamConsumer[int](RedisQueueSubscriber(*server.place, "t"), timeout=5)
    assert [1] == list(consumer)
    consumer.close()
    with server.client() as client:
        assert [] == [key for key in client.keys() if client.ttl(key) < 0]


def test_zmq_subscribers_notice_a_killed_publisher(
    run: Any, free_port: Callable[[], int]
) -> None:
    zmq_broker = pytest.importorskip("proxystore_patterns.streams.brokers.zmq")
    port = free_port()
    consumer = StreamConsumer[int](
        zmq_broker.ZeroMQSubscriber("127.0.0.1", port, topic="t", lost_after=0.3), timeout=20
    )
    producer = run(PRODUCER, module="zmq", publisher=f"ZeroMQPublisher('127.0.0.1', {port})")
    assert producer.stdout.readline() == "sent\n"
    assert [0, 1, 2] == [consumer.next() for _ in range(3)]
    kill(producer)
    with pytest.raises(ProducersLostError, match=str(port)):
        consumer.next()
    consumer.close()


def test_a_zmq_publisher_waits_for_a_slow_subscriber(free_port: Callable[[], int]) -> None:
    zmq_broker = pytest.importorskip("proxystore_patterns.streams.brokers.zmq")
    port = free_port()
    subscriber = zmq_broker.ZeroMQSubscriber("127.0.0.1", port, topic="t")
    publisher = zmq_broker.ZeroMQPublisher("127.0.0.1", port, timeout=0.3, room=2)
    publisher.begin("t", "p")
    sent = 0
    with pytest.raises(StreamTimeoutError, match="room"):
        for sent in range(10_000):
            publisher.send_message("t", b"x" * 1_000_000)
    assert sent == sum(1 for _ in iter(lambda: _next_or_none(subscriber), None))
    subscriber.close()
    publisher.close()


def _next_or_none(subscriber: Any) -> Any:
    try:
        return subscriber.next_message(0.5)
    except StreamTimeoutError:
        return None


def test_rabbitmq_notices_a_killed_producer(rabbitmq_server: Any, run: Any) -> None:
    rabbitmq = pytest.importorskip("proxystore_patterns.streams.brokers.rabbitmq")
    url = rabbitmq_server.url
    producer = run(
        PRODUCER.replace('"t"', '"lost"'),
        module="rabbitmq",
        publisher=f"RabbitMQPublisher({url!r})",
    )
    assert producer.stdout.readline() == "sent\n"
    consumer = StreamConsumer[int](rabbitmq.RabbitMQSubscriber(url, "lost"), timeout=20)
    kill(producer)
    assert [0, 1, 2] == [consumer.next() for _ in range(3)]
    with pytest.raises(ProducersLostError, match="1 of its producers"):
        consumer.next()
    consumer.close()


def test_rabbitmq_gives_what_a_killed_consumer_was_using_to_another(
    rabbitmq_server: Any, run: Any
) -> None:
    rabbitmq = pytest.importorskip("proxystore_patterns.streams.brokers.rabbitmq")
    url = rabbitmq_server.url
    with StreamProducer[int](rabbitmq.RabbitMQPublisher(url)) as producer:
        for number in range(5):
            producer.send("killed", number)
    victim = run(
        CONSUMER, "1", module="rabbitmq", subscriber=f"RabbitMQSubscriber({url!r}, 'killed')"
    )
    assert ["0\n", "1\n"] == [victim.stdout.readline() for _ in range(2)]
    kill(victim)
    survivor = StreamConsumer[int](rabbitmq.RabbitMQSubscriber(url, "killed"), timeout=20)
    assert [1, 2, 3, 4] == sorted(survivor.iter_objects())
    survivor.close()


def test_a_rabbitmq_stream_survives_kill_9_of_the_node(rabbitmq_server: Any) -> None:
    rabbitmq = pytest.importorskip("proxystore_patterns.streams.brokers.rabbitmq")
    url = rabbitmq_server.url
    producer = StreamProducer[int](rabbitmq.RabbitMQPublisher(url, retry_for=60))
    consumer = StreamConsumer[int](
        rabbitmq.RabbitMQSubscriber(url, "restart", retry_for=60), timeout=60
    )
    for number in range(4):
        producer.send("restart", number)
    assert [0, 1] == [consumer.next() for _ in range(2)]
    rabbitmq_server.kill()
    rabbitmq_server.start()
    producer.send("restart", 4)
    producer.close()
    # What is delivered again comes last.
    assert [2, 3, 4] == sorted(number for number in consumer if number > 1)
    consumer.close()


QUEUES = """
import multiprocessing

from proxystore.store import Store
from proxystore_patterns.streams import StreamConsumer, StreamProducer
from proxystore_patterns.streams.brokers.queue import (
    ProcessQueue,
    QueuePublisher,
    QueueSubscriber,
)


def produce(queue, store_url, first):
    publisher = QueuePublisher({"t": queue})
    with Store.from_url(store_url) as store:
        with StreamProducer(publisher, default_store=store, producers=2) as producer:
            for number in range(first, first + 3):
                producer.send("t", bytes([number]) * 100_000)


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    queue = ProcessQueue(context=context)
    with Store("between") as store:
        for first in (0, 10):
            context.Process(target=produce, args=(queue, store.url, first)).start()
        consumer = StreamConsumer(QueueSubscriber(queue), timeout=30)
        print(sorted(obj[0] for obj in consumer.iter_objects()))
        for process in multiprocessing.active_children():
            process.join(20)
            assert process.exitcode == 0
"""


def test_processes_stream_by_a_queue(tmp_path: Path) -> None:
    # A script: processes that are spawned import their main module again.
    script = tmp_path / "queues.py"
    script.write_text(QUEUES)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("[0, 1, 2, 10, 11, 12]\n", 0), done.stderr
