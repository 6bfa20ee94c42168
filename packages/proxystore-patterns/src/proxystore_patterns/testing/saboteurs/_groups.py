"""Break acknowledgement, dead letters and replay."""

from __future__ import annotations

from proxystore_patterns.streams import BrokerCapability, Message, Subscriber
from proxystore_patterns.testing.saboteurs._front import FrontSubscriber, Saboteur

__all__ = [
    "AcknowledgesWhatIsRejected",
    "BuriesNothing",
    "IgnoresAcknowledgements",
    "IgnoresSeek",
    "NeverRedelivers",
    "SeeksOneTooFar",
]


class NeverRedelivers(Saboteur):
    """What was not acknowledged is delivered again."""

    caught_by = "test_what_was_not_acknowledged_is_delivered_again"
    needs = frozenset({BrokerCapability.GROUPS})

    class subscriber_type(FrontSubscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            found = super().next_message(min(timeout or 1, 1))
            super().acknowledge(found)
            return found


class IgnoresAcknowledgements(Saboteur):
    """What was acknowledged is not delivered again."""

    caught_by = "test_what_was_acknowledged_is_not_delivered_again"
    needs = frozenset({BrokerCapability.GROUPS})

    class subscriber_type(FrontSubscriber):
        def acknowledge(self, message: Message) -> None: ...


class AcknowledgesWhatIsRejected(Saboteur):
    """What was rejected is delivered again."""

    caught_by = "test_what_was_rejected_is_delivered_again"
    needs = frozenset({BrokerCapability.GROUPS})

    class subscriber_type(FrontSubscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            return super().next_message(min(timeout or 1, 1))

        def reject(self, message: Message) -> None:
            super().acknowledge(message)


class BuriesNothing(Saboteur):
    """What was delivered too often goes to the dead letters."""

    caught_by = "test_what_was_delivered_too_often_goes_to_the_dead_letters"
    needs = frozenset({BrokerCapability.GROUPS, BrokerCapability.DEAD_LETTERS})

    class subscriber_type(FrontSubscriber):
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

    class subscriber_type(FrontSubscriber):
        def seek(self, offset: str | int) -> None: ...


class SeeksOneTooFar(Saboteur):
    """The message at the offset is the first that comes."""

    caught_by = "test_a_stream_is_replayed_from_an_offset"
    needs = frozenset({BrokerCapability.REPLAY})

    class subscriber_type(FrontSubscriber):
        def seek(self, offset: str | int) -> None:
            super().seek(offset)
            self._inner.next_message(5)
