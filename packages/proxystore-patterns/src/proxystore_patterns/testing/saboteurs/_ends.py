"""Break when streams end, and for whom."""

from __future__ import annotations

from proxystore_patterns.errors import EndOfStreamError, StreamTimeoutError
from proxystore_patterns.streams import BrokerCapability, Delivery, Message, Subscriber
from proxystore_patterns.testing.saboteurs._front import FrontPublisher, FrontSubscriber, Saboteur

__all__ = [
    "CountsProducersOfEarlierRuns",
    "EndsBeforeTheLastMessage",
    "EndsEarly",
    "EndsForOne",
    "EndsForWhoWaited",
    "EndsOnce",
    "ForgetsLateMembers",
    "ForgetsThePromised",
    "KeepsNothing",
    "NeverEnds",
    "RemembersAnOlderEnd",
]


class EndsEarly(Saboteur):
    """Only the last producer ends a stream."""

    caught_by = "test_only_the_last_producer_ends_the_stream"

    class publisher_type(FrontPublisher):
        def end(self, topic: str, producer: str) -> None:
            self._saboteur.notes[topic] = True
            super().end(topic, producer)

    class subscriber_type(FrontSubscriber):
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

    class publisher_type(FrontPublisher):
        def begin(self, topic: str, producer: str, *, producers: int = 1) -> None:
            super().begin(topic, producer)


class NeverEnds(Saboteur):
    """A stream ends."""

    caught_by = "test_a_stream_without_messages_ends"

    class subscriber_type(FrontSubscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            try:
                return super().next_message(timeout)
            except EndOfStreamError:
                raise StreamTimeoutError(self.topic, "message", timeout or 0) from None


class EndsOnce(Saboteur):
    """The end is raised again."""

    caught_by = "test_the_end_is_raised_again"

    class subscriber_type(FrontSubscriber):
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

    class subscriber_type(FrontSubscriber):
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

    class subscriber_type(FrontSubscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            if self._received == 99:
                raise EndOfStreamError(self.topic)
            return super().next_message(timeout)


class RemembersAnOlderEnd(Saboteur):
    """A run does not see the end of the one before."""

    caught_by = "test_a_run_does_not_see_the_end_of_the_one_before"

    class subscriber_type(FrontSubscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            try:
                return super().next_message(timeout)
            except EndOfStreamError:
                self._saboteur.notes["over"] = True
                raise
            except StreamTimeoutError:
                if self._saboteur.notes:
                    raise EndOfStreamError(self.topic) from None
                raise


class EndsForWhoWaited(Saboteur):
    """A run does not see an end that nobody waited for."""

    caught_by = "test_a_run_does_not_see_an_end_that_nobody_waited_for"

    class publisher_type(FrontPublisher):
        def end(self, topic: str, producer: str) -> None:
            super().end(topic, producer)
            self._saboteur.notes["over"] = True

    class subscriber_type(FrontSubscriber):
        def next_message(self, timeout: float | None = None) -> Message:
            if self._saboteur.notes.pop("over", False):
                raise EndOfStreamError(self.topic)
            return super().next_message(timeout)


class CountsProducersOfEarlierRuns(Saboteur):
    """Each run waits for the producers that it was promised."""

    caught_by = "test_each_run_waits_for_the_producers_it_was_promised"

    class publisher_type(FrontPublisher):
        def begin(self, topic: str, producer: str, *, producers: int = 1) -> None:
            known = self._saboteur.notes.setdefault(topic, set())
            known.add(producer)
            super().begin(topic, producer, producers=max(producers - len(known) + 1, 1))


class ForgetsLateMembers(Saboteur):
    """Those who come while something is left get the end."""

    caught_by = "test_those_who_come_while_something_is_left_get_the_end"
    needs = frozenset({Delivery.ONE})

    class publisher_type(FrontPublisher):
        def end(self, topic: str, producer: str) -> None:
            super().end(topic, producer)
            self._saboteur.notes["over"] = True

    class subscriber_type(FrontSubscriber):
        def __init__(self, inner: Subscriber, saboteur: Saboteur) -> None:
            super().__init__(inner, saboteur)
            self._late = bool(saboteur.notes)

        def next_message(self, timeout: float | None = None) -> Message:
            try:
                return super().next_message(timeout)
            except EndOfStreamError:
                if self._late:
                    raise StreamTimeoutError(self.topic, "message", timeout or 0) from None
                raise


class KeepsNothing(Saboteur):
    """A late subscriber gets what was kept."""

    caught_by = "test_a_late_subscriber_gets_what_was_kept_and_the_end"
    needs = frozenset({Delivery.EACH, BrokerCapability.REPLAY})

    def make_subscriber(self, topic: str) -> Subscriber:
        return self.make_next_subscriber(topic)
