"""A broker in front of another one, which a saboteur changes in one place."""

from __future__ import annotations

from typing import Any, ClassVar

from proxystore.abc import Acknowledgement
from proxystore_patterns.streams import (
    BrokerCapability,
    Delivery,
    Message,
    Publisher,
    Subscriber,
)
from proxystore_patterns.testing._broker import Broker

__all__ = ["FrontPublisher", "FrontSubscriber", "Saboteur"]


class FrontPublisher:
    """A publisher in front of another one."""

    def __init__(self, inner: Publisher, saboteur: Saboteur) -> None:
        self._inner, self._saboteur = inner, saboteur
        self._sent = 0

    @property
    def acknowledges(self) -> Acknowledgement:
        return self._inner.acknowledges

    def begin(self, topic: str, producer: str, *, producers: int = 1) -> None:
        self._inner.begin(topic, producer, producers=producers)

    def send_message(self, topic: str, message: bytes) -> None:
        self._inner.send_message(topic, message)

    def end(self, topic: str, producer: str) -> None:
        self._inner.end(topic, producer)

    def close(self) -> None:
        self._inner.close()


class FrontSubscriber:
    """A subscriber in front of another one."""

    # Any: with the methods of every capability.
    def __init__(self, inner: Any, saboteur: Saboteur) -> None:
        self._inner, self._saboteur = inner, saboteur
        self._received = 0

    @property
    def delivery(self) -> Delivery:
        found: Delivery = self._inner.delivery
        return found

    @property
    def topic(self) -> str:
        return str(self._inner.topic)

    @property
    def capabilities(self) -> frozenset[BrokerCapability]:
        found: frozenset[BrokerCapability] = self._inner.capabilities
        return found

    def next_message(self, timeout: float | None = None) -> Message:
        found: Message = self._inner.next_message(timeout)
        self._received += 1
        return found

    def acknowledge(self, message: Message) -> None:
        if BrokerCapability.GROUPS in self.capabilities:
            self._inner.acknowledge(message)

    def reject(self, message: Message) -> None:
        self._inner.reject(message)

    def seek(self, offset: str | int) -> None:
        self._inner.seek(offset)

    def close(self) -> None:
        self._inner.close()


class Saboteur(Broker):
    """A broker in front of another one, which breaks one rule; its docstring names the rule."""

    caught_by: ClassVar[str]
    """Name of the contract test that must fail."""

    needs: ClassVar[frozenset[BrokerCapability | Delivery]] = frozenset()
    """What the broker behind it must be for the rule to exist."""

    publisher_type: ClassVar[type[FrontPublisher]] = FrontPublisher
    subscriber_type: ClassVar[type[FrontSubscriber]] = FrontSubscriber

    def __init__(self, inner: Broker) -> None:
        super().__init__()
        self.inner = inner
        # Any: what a saboteur remembers of all publishers and subscribers.
        self.notes: dict[Any, Any] = {}

    def make_publisher(self) -> Publisher:
        return self.publisher_type(self.inner.make_publisher(), self)

    def make_subscriber(self, topic: str) -> Subscriber:
        return self.subscriber_type(self.inner.make_subscriber(topic), self)

    def make_next_subscriber(self, topic: str) -> Subscriber:
        return self.subscriber_type(self.inner.make_next_subscriber(topic), self)

    def make_dead_letter_subscriber(self, topic: str) -> Subscriber:
        return self.inner.make_dead_letter_subscriber(topic)

    def close(self) -> None:
        super().close()
        self.inner.close()
