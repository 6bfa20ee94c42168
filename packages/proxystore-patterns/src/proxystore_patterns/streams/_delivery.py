"""Events one by one out of messages: acknowledged when used, duplicates left out."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from proxystore_patterns.errors import (
    BadEventError,
    ProducerFailedError,
    StreamCapabilityError,
)
from proxystore_patterns.streams._contract import Acknowledging, Message, Subscriber
from proxystore_patterns.streams._events import (
    EndOfStreamEvent,
    EventBatch,
    ObjectEvent,
    ProducerFailedEvent,
    bytes_to_event,
)

__all__ = ["Deliveries"]

_REMEMBERED = 10_000


class Deliveries:
    """The object events of a subscriber, each once.

    A message is acknowledged when the event after its last one is asked for,
    so what a consumer that dies was working on is delivered again where the
    broker can. Belongs to one thread at a time.
    """

    def __init__(self, subscriber: Subscriber) -> None:
        # isinstance of a protocol takes 5 us.
        self._acknowledging = subscriber if isinstance(subscriber, Acknowledging) else None
        self._subscriber = subscriber
        self._events: deque[ObjectEvent | ProducerFailedEvent] = deque()
        self._message: Message | None = None
        self._seen: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._taken: list[tuple[str, int]] = []
        self._after: list[Callable[[], None]] = []

    @property
    def message(self) -> Message | None:
        """The message that the last event came in, until it is acknowledged."""
        return self._message

    def next_event(self, timeout: float | None) -> ObjectEvent:
        """The next event that was not given before.

        Raises:
            BadEventError: The message is none of ours; it was rejected.
            ProducerFailedError: An event says so. It counts as used, as others do.
        """
        while True:
            while not self._events:
                self.acknowledge()
                self._receive(timeout)
            event = self._events.popleft()
            name = (event.producer, event.sequence)
            if event.producer and name in self._seen:
                continue
            self._remember(name)
            if isinstance(event, ProducerFailedEvent):
                raise ProducerFailedError(event.topic, event.found)
            return event

    def acknowledge(self) -> None:
        """Say that the message of the last event needs no other delivery."""
        message, self._message = self._message, None
        after, self._after, self._taken = self._after, [], []
        if message is not None and self._acknowledging is not None:
            self._acknowledging.acknowledge(message)
        if after:
            with ExitStack() as calls:
                for call in after:
                    calls.callback(call)

    def after_use(self, call: Callable[[], None]) -> None:
        """Call it once the message is acknowledged; at once where nothing is delivered again."""
        if self._acknowledging is None:
            call()
        else:
            self._after.append(call)

    def reject(self) -> None:
        """Give the message of the last event back, with all of its events."""
        if self._acknowledging is None:
            broker = type(self._subscriber).__name__
            raise StreamCapabilityError("reject()", broker, "consumer groups")
        message, self._message = self._message, None
        for taken in self._taken:
            self._seen.pop(taken, None)
        self._events.clear()
        self._after, self._taken = [], []
        if message is not None:
            self._acknowledging.reject(message)

    def reject_if_possible(self) -> None:
        """`reject` where the broker can; otherwise the event is gone."""
        if self._acknowledging is not None:
            self.reject()

    def forget(self) -> None:
        """Take what comes next as new, for it may be a replay."""
        self._events.clear()
        self._seen.clear()
        self._message, self._after, self._taken = None, [], []

    def _receive(self, timeout: float | None) -> None:
        self._message = self._subscriber.next_message(timeout)
        try:
            self._events.extend(_objects(self._message.data))
        except BadEventError:
            self.reject_if_possible()
            self._message = None
            raise

    def _remember(self, name: tuple[str, int]) -> None:
        self._seen[name] = None
        self._taken.append(name)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)


def _objects(message: bytes) -> Sequence[ObjectEvent | ProducerFailedEvent]:
    event = bytes_to_event(message)
    if isinstance(event, EndOfStreamEvent):
        raise BadEventError("it is an end of stream, which brokers keep to themselves")
    return event.events if isinstance(event, EventBatch) else (event,)
