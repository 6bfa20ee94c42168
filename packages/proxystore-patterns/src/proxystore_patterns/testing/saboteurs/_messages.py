"""Break what messages keep: each once, in order, unchanged, to whom it is for."""

from __future__ import annotations

import threading
import time

from proxystore.abc import Acknowledgement
from proxystore_patterns.streams import Delivery, Message
from proxystore_patterns.testing.saboteurs._front import FrontPublisher, FrontSubscriber, Saboteur

__all__ = [
    "AcknowledgesBeforeDelivery",
    "ClaimsTheDisk",
    "CutsLargeMessages",
    "DropsAnEvent",
    "DuplicatesAnEvent",
    "ForgetsTheTimeout",
    "GivesToAll",
    "GivesToOne",
    "MixesTopics",
    "ReordersBetweenThreads",
    "ReordersWithinAProducer",
]


class DropsAnEvent(Saboteur):
    """Every message arrives."""

    caught_by = "test_messages_arrive_once_and_in_order"

    class publisher_type(FrontPublisher):
        def send_message(self, topic: str, message: bytes) -> None:
            self._sent += 1
            if self._sent != 50:
                super().send_message(topic, message)


class DuplicatesAnEvent(Saboteur):
    """A message arrives once."""

    caught_by = "test_messages_arrive_once_and_in_order"

    class publisher_type(FrontPublisher):
        def send_message(self, topic: str, message: bytes) -> None:
            self._sent += 1
            for _ in range(2 if self._sent == 7 else 1):
                super().send_message(topic, message)


class ReordersWithinAProducer(Saboteur):
    """Messages of one producer stay in order."""

    caught_by = "test_messages_arrive_once_and_in_order"

    class publisher_type(FrontPublisher):
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

    class publisher_type(FrontPublisher):
        _held: tuple[int, str, bytes] | None = None
        _has_held = False

        def send_message(self, topic: str, message: bytes) -> None:
            self._sent += 1
            me = threading.get_ident()
            if self._sent >= 10 and not self._has_held:
                self._has_held, self._held = True, (me, topic, message)
                return
            super().send_message(topic, message)
            # After another one of the same thread, however the threads alternate.
            if self._held is not None and self._held[0] == me:
                held, self._held = self._held[1:], None
                super().send_message(*held)


class AcknowledgesBeforeDelivery(Saboteur):
    """What send_message returned for is on its way, without another call."""

    caught_by = "test_a_message_arrives_without_another_call"

    class publisher_type(FrontPublisher):
        _held: tuple[str, bytes] | None = None

        def send_message(self, topic: str, message: bytes) -> None:
            held, self._held = self._held, (topic, message)
            if held is not None:
                super().send_message(*held)


class ClaimsTheDisk(Saboteur):
    """The level of acknowledgement is the one that is claimed."""

    caught_by = "test_the_claims_are_what_the_broker_says"

    class publisher_type(FrontPublisher):
        @property
        def acknowledges(self) -> Acknowledgement:
            return Acknowledgement.DISK


class CutsLargeMessages(Saboteur):
    """Messages of any size arrive as they were sent."""

    caught_by = "test_messages_of_any_size_arrive_as_they_were_sent"

    class publisher_type(FrontPublisher):
        def send_message(self, topic: str, message: bytes) -> None:
            super().send_message(topic, message[:500_000])


class MixesTopics(Saboteur):
    """Topics are apart."""

    caught_by = "test_topics_are_apart"

    class publisher_type(FrontPublisher):
        def send_message(self, topic: str, message: bytes) -> None:
            super().send_message(self._saboteur.notes.setdefault("first", topic), message)


class ForgetsTheTimeout(Saboteur):
    """next_message ends at its timeout."""

    caught_by = "test_next_message_ends_at_its_timeout"

    class subscriber_type(FrontSubscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            time.sleep((timeout or 0) + 2.0)
            return super().next_message(timeout)


class GivesToOne(Saboteur):
    """Every subscriber gets every message."""

    caught_by = "test_every_subscriber_gets_every_message"
    needs = frozenset({Delivery.EACH})

    class subscriber_type(FrontSubscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            while True:
                found = super().next_message(timeout)
                if self._saboteur.notes.setdefault(found.data, self) is self:
                    return found


class GivesToAll(Saboteur):
    """A message goes to one subscriber."""

    caught_by = "test_a_message_goes_to_one_subscriber"
    needs = frozenset({Delivery.ONE})

    class subscriber_type(FrontSubscriber):
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
