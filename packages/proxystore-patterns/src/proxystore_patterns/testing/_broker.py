"""What a test module gives the kit: ways to reach one broker."""

from __future__ import annotations

import contextlib
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from proxystore_patterns.errors import EndOfStreamError, StreamTimeoutError
from proxystore_patterns.streams import (
    Message,
    NewObjectEvent,
    Publisher,
    Subscriber,
    event_to_bytes,
)

__all__ = [
    "Broker",
    "drain",
    "drain_each",
    "event",
    "events",
    "is_silent",
    "receive",
    "take",
]

WITHIN = 20.0
"""Seconds after which a test gives up."""
MOMENT = 0.3
"""Seconds in which nothing is to come."""


class Broker(ABC):
    """Makes publishers and subscribers of one running broker, and closes them.

    Subscribers of one topic share its messages where the broker's
    delivery is to one of them, and each get all otherwise.
    """

    def __init__(self) -> None:
        self._closing = contextlib.ExitStack()
        self._numbers = itertools.count()

    @abstractmethod
    def make_publisher(self) -> Publisher:
        """A publisher with a connection of its own, if publishers have one."""

    @abstractmethod
    def make_subscriber(self, topic: str) -> Subscriber:
        """A subscriber of ``topic`` from its first message on; redelivers within 0.2 s."""

    def make_next_subscriber(self, topic: str) -> Subscriber:
        """A subscriber of what is still to come, where `make_subscriber` gives what was kept."""
        return self.make_subscriber(topic)

    def make_dead_letter_subscriber(self, topic: str) -> Subscriber:
        """A subscriber of what was delivered to `make_subscriber`'s twice and not acknowledged."""
        raise LookupError(f"{type(self).__name__} has no dead letters of {topic!r}.")

    def topic(self) -> str:
        """A topic that nothing was sent to."""
        return f"t{next(self._numbers)}-{uuid4().hex[:12]}"

    def publisher(self) -> Publisher:
        """As `make_publisher`, closed after the test."""
        made = self.make_publisher()
        self._closing.callback(made.close)
        return made

    def subscriber(self, topic: str) -> Subscriber:
        """As `make_subscriber`, closed after the test."""
        made = self.make_subscriber(topic)
        self._closing.callback(made.close)
        return made

    def next_subscriber(self, topic: str) -> Subscriber:
        """As `make_next_subscriber`, closed after the test."""
        made = self.make_next_subscriber(topic)
        self._closing.callback(made.close)
        return made

    def dead_letters(self, topic: str) -> Subscriber:
        """As `make_dead_letter_subscriber`, closed after the test."""
        made = self.make_dead_letter_subscriber(topic)
        self._closing.callback(made.close)
        return made

    def close(self) -> None:
        """Close what was made."""
        self._closing.close()


def event(topic: str, number: int, nbytes: int = 20) -> bytes:
    """A message like those that producers send, told from others by its number."""
    body = (b"%08d" % number) * (nbytes // 8 + 1)
    return event_to_bytes(NewObjectEvent(topic, body[:nbytes], {}, "p", number))


def events(topic: str, count: int, first: int = 0) -> list[bytes]:
    """Messages with the numbers from ``first`` on."""
    return [event(topic, number) for number in range(first, first + count)]


def take(subscriber: Subscriber) -> Message:
    """The next message, not acknowledged."""
    return subscriber.next_message(WITHIN)


def receive(subscriber: Subscriber) -> Message:
    """The next message, acknowledged if the subscriber can."""
    message = take(subscriber)
    acknowledge = getattr(subscriber, "acknowledge", None)
    if acknowledge is not None:
        acknowledge(message)
    return message


def drain(subscriber: Subscriber) -> list[bytes]:
    """All messages up to the end of the stream."""
    found: list[bytes] = []
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        try:
            found.append(bytes(receive(subscriber).data))
        except EndOfStreamError:
            return found
    raise AssertionError(f"the stream did not end within {WITHIN} s; got {len(found)} messages")


def drain_each(subscribers: Sequence[Subscriber]) -> list[list[bytes]]:
    """As `drain`, of all at the same time."""
    with ThreadPoolExecutor(len(subscribers)) as threads:
        return list(threads.map(drain, subscribers))


def is_silent(subscriber: Subscriber) -> bool:
    """Whether nothing comes for a moment."""
    try:
        subscriber.next_message(MOMENT)
    except StreamTimeoutError:
        return True
    return False
