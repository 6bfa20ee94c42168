"""Brokers that each break one rule, to prove that the conformance kit sees it.

A saboteur stands in front of a broker: ``DropsAnEvent(broker)`` is that broker, but one
message of it gets lost, and the contract test that `caught_by` names must fail on it.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from proxystore.abc import Acknowledgement
from proxystore_patterns.errors import EndOfStreamError, StreamTimeoutError
from proxystore_patterns.streams import (
    BrokerCapability,
    Delivery,
    Message,
    Publisher,
    Subscriber,
)
from proxystore_patterns.testing._broker import Broker

__all__ = ["SABOTEURS", "Saboteur"]


class _Publisher:
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


class _Subscriber:
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

    publisher_type: ClassVar[type[_Publisher]] = _Publisher
    subscriber_type: ClassVar[type[_Subscriber]] = _Subscriber

    def __init__(self, inner: Broker) -> None:
        super().__init__()
        self.inner = inner
        # Any: what a saboteur remembers of all publishers and subscribers.
        self.notes: dict[Any, Any] = {}

    def make_publisher(self) -> Publisher:
        return self.publisher_type(self.inner.make_publisher(), self)

    def make_subscriber(self, topic: str) -> Subscriber:
        return self.subscriber_type(self.inner.make_subscriber(topic), self)

    def make_dead_letter_subscriber(self, topic: str) -> Subscriber:
        return self.inner.make_dead_letter_subscriber(topic)

    def close(self) -> None:
        super().close()
        self.inner.close()


class DropsAnEvent(Saboteur):
    """Every message arrives."""

    caught_by = "test_messages_arrive_once_and_in_order"

    class publisher_type(_Publisher):
        def send_message(self, topic: str, message: bytes) -> None:
            self._sent += 1
            if self._sent != 50:
                super().send_message(topic, message)


class DuplicatesAnEvent(Saboteur):
    """A message arrives once."""

    caught_by = "test_messages_arrive_once_and_in_order"

    class publisher_type(_Publisher):
        def send_message(self, topic: str, message: bytes) -> None:
            self._sent += 1
            for _ in range(2 if self._sent == 7 else 1):
                super().send_message(topic, message)


class ReordersWithinAProducer(Saboteur):
    """Messages of one producer stay in order."""

    caught_by = "test_messages_arrive_once_and_in_order"

    class publisher_type(_Publisher):
        _held: tuple[str, bytes] | None = None

        def send_message(self, topic: str, message: bytes) -> None:
            self._sent += 1
            if self._sent == 10:
                self._held = (topic, message)
                return
            super().send_message(topic, message)
            if self._held is not None:
                held, self._held = self._held, None
                super().send_message(*held)


class ReordersBetweenThreads(Saboteur):
    """Messages of each of several threads stay in order."""

    caught_by = "test_threads_share_a_publisher"

    class publisher_type(ReordersWithinAProducer.publisher_type): ...


class EndsEarly(Saboteur):
    """Only the last producer ends a stream."""

    caught_by = "test_only_the_last_producer_ends_the_stream"

    class publisher_type(_Publisher):
        def end(self, topic: str, producer: str) -> None:
            self._saboteur.notes[topic] = True
            super().end(topic, producer)

    class subscriber_type(_Subscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            try:
                return super().next_message(timeout)
            except StreamTimeoutError:
                if self._saboteur.notes:
                    raise EndOfStreamError(self.topic) from None
                raise


class ForgetsThePromised(Saboteur):
    """A stream waits for the producers that it was promised."""

    caught_by = "test_a_stream_waits_for_the_producers_it_was_promised"

    class publisher_type(_Publisher):
        def begin(self, topic: str, producer: str, *, producers: int = 1) -> None:
            super().begin(topic, producer)


class NeverEnds(Saboteur):
    """A stream ends."""

    caught_by = "test_a_stream_without_messages_ends"

    class subscriber_type(_Subscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            try:
                return super().next_message(timeout)
            except EndOfStreamError:
                raise StreamTimeoutError(self.topic, "message", timeout or 0) from None


class EndsOnce(Saboteur):
    """The end is raised again."""

    caught_by = "test_the_end_is_raised_again"

    class subscriber_type(_Subscriber):
        _told = False

        def next_message(self, timeout: float | None = None) -> Message:
            try:
                return super().next_message(timeout)
            except EndOfStreamError:
                if self._told:
                    raise StreamTimeoutError(self.topic, "message", timeout or 0) from None
                self._told = True
                raise


class EndsForOne(Saboteur):
    """Every subscriber gets an end."""

    caught_by = "test_every_subscriber_gets_an_end"

    class subscriber_type(_Subscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            try:
                return super().next_message(timeout)
            except EndOfStreamError:
                if self._saboteur.notes.setdefault("told", self) is not self:
                    raise StreamTimeoutError(self.topic, "message", timeout or 0) from None
                raise


class EndsBeforeTheLastMessage(Saboteur):
    """The end comes after every message."""

    caught_by = "test_messages_arrive_once_and_in_order"

    class subscriber_type(_Subscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            if self._received == 99:
                raise EndOfStreamError(self.topic)
            return super().next_message(timeout)


class AcknowledgesBeforeDelivery(Saboteur):
    """What send_message returned for is on its way, without another call."""

    caught_by = "test_a_message_arrives_without_another_call"

    class publisher_type(_Publisher):
        _held: tuple[str, bytes] | None = None

        def send_message(self, topic: str, message: bytes) -> None:
            held, self._held = self._held, (topic, message)
            if held is not None:
                super().send_message(*held)


class ClaimsTheDisk(Saboteur):
    """The level of acknowledgement is the one that is claimed."""

    caught_by = "test_the_claims_are_what_the_broker_says"

    class publisher_type(_Publisher):
        @property
        def acknowledges(self) -> Acknowledgement:
            return Acknowledgement.DISK


class CutsLargeMessages(Saboteur):
    """Messages of any size arrive as they were sent."""

    caught_by = "test_messages_of_any_size_arrive_as_they_were_sent"

    class publisher_type(_Publisher):
        def send_message(self, topic: str, message: bytes) -> None:
            super().send_message(topic, message[:500_000])


class MixesTopics(Saboteur):
    """Topics are apart."""

    caught_by = "test_topics_are_apart"

    class publisher_type(_Publisher):
        def send_message(self, topic: str, message: bytes) -> None:
            super().send_message(self._saboteur.notes.setdefault("first", topic), message)


class ForgetsTheTimeout(Saboteur):
    """next_message ends at its timeout."""

    caught_by = "test_next_message_ends_at_its_timeout"

    class subscriber_type(_Subscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            time.sleep((timeout or 0) + 2.0)
            return super().next_message(timeout)


class GivesToOne(Saboteur):
    """Every subscriber gets every message."""

    caught_by = "test_every_subscriber_gets_every_message"
    needs = frozenset({Delivery.EACH})

    class subscriber_type(_Subscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            while True:
                found = super().next_message(timeout)
                if self._saboteur.notes.setdefault(found.data, self) is self:
                    return found


class GivesToAll(Saboteur):
    """A message goes to one subscriber."""

    caught_by = "test_a_message_goes_to_one_subscriber"
    needs = frozenset({Delivery.ONE})

    class subscriber_type(_Subscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            seen = self._saboteur.notes.setdefault("seen", [])
            mine = self._saboteur.notes.setdefault(self, set())
            for message in list(seen):
                if message.data not in mine:
                    mine.add(message.data)
                    return Message(message.data)
            found = super().next_message(timeout)
            mine.add(found.data)
            seen.append(found)
            return found

        def acknowledge(self, message: Message) -> None:
            if message.receipt is not None:
                super().acknowledge(message)


class NeverRedelivers(Saboteur):
    """What was not acknowledged is delivered again."""

    caught_by = "test_what_was_not_acknowledged_is_delivered_again"
    needs = frozenset({BrokerCapability.GROUPS})

    class subscriber_type(_Subscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            found = super().next_message(min(timeout or 1, 1))
            super().acknowledge(found)
            return found


class IgnoresAcknowledgements(Saboteur):
    """What was acknowledged is not delivered again."""

    caught_by = "test_what_was_acknowledged_is_not_delivered_again"
    needs = frozenset({BrokerCapability.GROUPS})

    class subscriber_type(_Subscriber):
        def acknowledge(self, message: Message) -> None: ...


class AcknowledgesWhatIsRejected(Saboteur):
    """What was rejected is delivered again."""

    caught_by = "test_what_was_rejected_is_delivered_again"
    needs = frozenset({BrokerCapability.GROUPS})

    class subscriber_type(_Subscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            return super().next_message(min(timeout or 1, 1))

        def reject(self, message: Message) -> None:
            super().acknowledge(message)


class BuriesNothing(Saboteur):
    """What was delivered too often goes to the dead letters."""

    caught_by = "test_what_was_delivered_too_often_goes_to_the_dead_letters"
    needs = frozenset({BrokerCapability.GROUPS, BrokerCapability.DEAD_LETTERS})

    class subscriber_type(_Subscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            return super().next_message(min(timeout or 1, 1))

        def reject(self, message: Message) -> None:
            if message.deliveries > 1:
                super().acknowledge(message)
            else:
                super().reject(message)

    def make_dead_letter_subscriber(self, topic: str) -> Subscriber:
        return self.subscriber_type(super().make_dead_letter_subscriber(topic), self)


class IgnoresSeek(Saboteur):
    """A stream is replayed from an offset."""

    caught_by = "test_a_stream_is_replayed_from_an_offset"
    needs = frozenset({BrokerCapability.REPLAY})

    class subscriber_type(_Subscriber):
        def seek(self, offset: str | int) -> None: ...


class SeeksOneTooFar(Saboteur):
    """The message at the offset is the first that comes."""

    caught_by = "test_a_stream_is_replayed_from_an_offset"
    needs = frozenset({BrokerCapability.REPLAY})

    class subscriber_type(_Subscriber):
        def seek(self, offset: str | int) -> None:
            super().seek(offset)
            self._inner.next_message(5)


SABOTEURS: dict[str, type[Saboteur]] = {
    name: found
    for name, found in list(globals().items())
    if isinstance(found, type) and issubclass(found, Saboteur) and "caught_by" in vars(found)
}
"""Every saboteur by name."""
