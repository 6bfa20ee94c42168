"""What a broker is: publishers, subscribers, and what some of them can do beyond."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from proxystore.abc import Acknowledgement
from proxystore_patterns._options import refusal

__all__ = [
    "Acknowledging",
    "BrokerCapability",
    "Delivery",
    "Message",
    "Publisher",
    "Replaying",
    "Subscriber",
    "check_broker",
]


class BrokerCapability(enum.Enum):
    """Something that a subscriber can do beyond `Subscriber`."""

    GROUPS = "consumer groups"
    """`Acknowledging`: what a consumer does not acknowledge another one gets."""
    REPLAY = "replay"
    """`Replaying`: an event can be read again, from an offset."""
    DEAD_LETTERS = "dead letters"
    """What was delivered too often goes to a topic of its own."""
    NOTICES_LOSS = "notice of lost producers"
    """`ProducersLostError` where the producers that are left died."""


class Delivery(enum.Enum):
    """Who gets an event when a topic has several subscribers."""

    EACH = "every subscriber"
    ONE = "one of the subscribers"


@dataclass(frozen=True, slots=True)
class Message:
    """What a subscriber was given."""

    data: bytes
    offset: str | int | None = None
    """Its place in the topic, where the broker can replay."""
    deliveries: int = 1
    """How often it was delivered, this time included, where the broker counts."""
    # Any: whatever the subscriber acknowledges by.
    receipt: Any = None


@runtime_checkable
class Publisher(Protocol):
    """Sends messages to topics of one broker.

    Safe to call from several threads, unless it says otherwise. Waits end with
    `BrokerUnavailableError` after the time that the publisher was made with.
    """

    @property
    def acknowledges(self) -> Acknowledgement:
        """What a message survives once `send_message` has returned."""
        ...

    def begin(self, topic: str, producer: str, *, producers: int = 1) -> None:
        """Count a producer of ``topic``, which does not end before this one has.

        Args:
            topic: Its name.
            producer: An id that no other producer has.
            producers: How many there will be at least: the topic does not end
                before so many have begun.
        """
        ...

    def send_message(self, topic: str, message: bytes) -> None:
        """Give ``message`` to the broker. One producer's messages stay in order.

        Raises:
            BrokerUnavailableError: The broker cannot be reached. Whether it has
                the message is not known.
        """
        ...

    def end(self, topic: str, producer: str) -> None:
        """Say that ``producer`` sends no more. The last one ends this run of the topic.

        Those who begin after it begin another run, whose end is another one.
        """
        ...

    def close(self) -> None:
        """Release connections. Ends no topic. Idempotent."""
        ...


@runtime_checkable
class Subscriber(Protocol):
    """Receives the messages of one topic. Belongs to one thread at a time."""

    @property
    def delivery(self) -> Delivery:
        """Who gets a message when a topic has several subscribers."""
        ...

    @property
    def topic(self) -> str:
        """The topic, as errors name it."""
        ...

    @property
    def capabilities(self) -> frozenset[BrokerCapability]:
        """What this subscriber can do. Fixed for its life."""
        ...

    def next_message(self, timeout: float | None = None) -> Message:
        """The next message.

        Args:
            timeout: Seconds; `None` waits for as long as the stream lasts.

        Raises:
            EndOfStreamError: The last producer has ended and everything was
                delivered. Raised again by each later call. Not for a run that was
                over, with everything delivered, when this subscriber was made.
            ProducersLostError: The producers that are left died.
            StreamTimeoutError: Nothing came in time.
            BrokerUnavailableError: The broker cannot be reached.
        """
        ...

    def close(self) -> None:
        """Release connections. Idempotent."""
        ...


@runtime_checkable
class Acknowledging(Protocol):
    """A subscriber of a group, each of whose messages one member gets until it is done."""

    def acknowledge(self, message: Message) -> None:
        """Say that ``message`` needs no other delivery."""
        ...

    def reject(self, message: Message) -> None:
        """Give ``message`` back, for another delivery or to the dead letters."""
        ...


@runtime_checkable
class Replaying(Protocol):
    """A subscriber that can go to another place of its topic."""

    def seek(self, offset: str | int) -> None:
        """Let the next message be the one at ``offset``, or the first after it."""
        ...


# object: whatever a caller gave.
def check_broker(asked: str, value: object, kind: str, call: str) -> None:
    """Return if ``value`` has ``call``. Not isinstance: of a protocol it asks for properties too.

    Raises:
        TypeError: It has not.
    """
    if not callable(getattr(value, call, None)):
        raise TypeError(refusal(asked, f"a {kind} of a broker", value))
