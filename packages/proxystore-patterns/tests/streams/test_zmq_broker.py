"""ZeroMQ keeps the contract of brokers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("zmq", reason="pyzmq is missing")

from proxystore.abc import Acknowledgement
from proxystore_patterns.errors import BrokerUnavailableError, StreamTimeoutError
from proxystore_patterns.streams import BrokerCapability, Delivery, Publisher, Subscriber
from proxystore_patterns.streams.brokers.zmq import ZeroMQPublisher, ZeroMQSubscriber
from proxystore_patterns.testing import Broker, BrokerContract


class ZeroMQBroker(Broker):
    """One publisher for all producers of a test, which waits for all subscribers made before."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port, self._made = port, Counter[str]()
        self._publisher: ZeroMQPublisher | None = None

    def make_publisher(self) -> Publisher:
        if self._publisher is None:
            wanted = max(self._made.values(), default=0)
            self._publisher = ZeroMQPublisher(
                "127.0.0.1", self._port, subscribers=wanted, timeout=5
            )
        return self._publisher

    def make_subscriber(self, topic: str) -> Subscriber:
        self._made[topic] += 1
        return ZeroMQSubscriber("127.0.0.1", self._port, topic=topic)


class TestZeroMQ(BrokerContract):
    delivery = Delivery.EACH
    capabilities = frozenset({BrokerCapability.NOTICES_LOSS})
    acknowledges = Acknowledgement.MEMORY

    @pytest.fixture
    def broker(self, free_port: Callable[[], int]) -> Iterator[Broker]:
        made = ZeroMQBroker(free_port())
        yield made
        made.close()


def test_a_publisher_without_its_subscribers_says_so(free_port: Callable[[], int]) -> None:
    publisher = ZeroMQPublisher("127.0.0.1", free_port(), subscribers=2, timeout=0.1)
    publisher.begin("t", "p")
    with pytest.raises(StreamTimeoutError, match="2 subscribers"):
        publisher.send_message("t", b"x")
    publisher.close()


def test_a_port_that_is_taken_is_named(free_port: Callable[[], int]) -> None:
    port = free_port()
    publisher = ZeroMQPublisher("127.0.0.1", port)
    with pytest.raises(BrokerUnavailableError, match=f"port {port}"):
        ZeroMQPublisher("127.0.0.1", port)
    publisher.close()


def test_a_stream_of_two_publishers_ends_with_the_last(free_port: Callable[[], int]) -> None:
    ports = [free_port(), free_port()]
    subscriber = ZeroMQSubscriber(
        "127.0.0.1", ports[0], topic="t", others=[("127.0.0.1", ports[1])]
    )
    first, second = (ZeroMQPublisher("127.0.0.1", port, timeout=5) for port in ports)
    for publisher in (first, second):
        publisher.begin("t", "p")
    first.end("t", "p")
    with pytest.raises(StreamTimeoutError):
        subscriber.next_message(0.2)
    second.end("t", "p")
    with pytest.raises(EOFError):
        subscriber.next_message(5)
    for each in (subscriber, first, second):
        each.close()
