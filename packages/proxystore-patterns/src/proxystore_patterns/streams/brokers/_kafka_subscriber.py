"""Receives from Kafka: all of a topic, or the part of a member of a group."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Literal
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from proxystore.errors import ClosedError
from proxystore_patterns._options import checked_count
from proxystore_patterns.errors import EndOfStreamError, StreamTimeoutError
from proxystore_patterns.streams._contract import BrokerCapability, Delivery, Message
from proxystore_patterns.streams.brokers._kafka_publisher import (
    KafkaPublisher,
    failure,
    opened,
)
from proxystore_patterns.streams.brokers._kafka_roll import KafkaRoll

__all__ = ["KafkaGroupSubscriber", "KafkaSubscriber"]

_SLICE = 0.1
_POLLED = 0.01
_TIMEOUT = 30.0
# Short: while the group shares out partitions the answer waits for the next poll.
_COMMITTED_WITHIN = 0.5
# Members that leave together wait for each other, and one thread closes one at a time.
_LEFT_WITHIN = 0.5
# Of which the client recovers by itself.
_PASSING = frozenset(
    {
        KafkaError._PARTITION_EOF,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)


class _KafkaReader:
    """What both kinds of subscriber have in common."""

    delivery: Delivery = Delivery.EACH

    # Any: options of different types.
    def __init__(
        self, bootstrap_servers: str, topic: str, *, options: Mapping[str, Any] | None = None
    ) -> None:
        self._topic, self._where = topic, f"kafka at {bootstrap_servers}"
        self._options: dict[str, Any] = {
            "group.id": uuid4().hex,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": True,
            "fetch.wait.max.ms": 50,
            "topic.metadata.refresh.interval.ms": 2000,
            "log_level": 0,
            **(options or {}),
            "bootstrap.servers": bootstrap_servers,
        }
        roll_options = {**self._options, "group.id": uuid4().hex}
        self._roll = KafkaRoll(topic, self._where, roll_options)
        self._consumer = opened(Consumer, self._options)
        self._next: dict[int, int] = {}
        self._ends: dict[int, int] | None = None
        self._closed = False
        self._known = 0

    @property
    def topic(self) -> str:
        return self._topic

    def next_message(self, timeout: float | None = None) -> Message:
        if self._closed:
            raise ClosedError(type(self).__name__)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _SLICE if deadline is None else min(_SLICE, deadline - time.monotonic())
            found = self._receive(max(left, 0.001))
            if found is not None:
                return found
            if self._is_over():
                raise EndOfStreamError(self._topic)
            if deadline is not None and time.monotonic() >= deadline:
                assert timeout is not None
                raise StreamTimeoutError(self._topic, "message", timeout)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._leave()
            self._roll.close()

    def _leave(self) -> None:
        self._consumer.close()

    def _receive(self, seconds: float) -> Message | None:
        if not self._is_assigned():
            time.sleep(seconds)
            return None
        message = self._consumer.poll(seconds)
        if message is None:
            return None
        error = message.error()
        if error is not None:
            if error.code() in _PASSING or error.retriable():
                return None
            raise failure(self._where, error)
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        self._next[partition] = offset + 1
        return self._given(Message(message.value() or b"", f"{partition}:{offset}"))

    def _is_assigned(self) -> bool:
        """Whether it is known where to read; groups assign by themselves."""
        return True

    def _given(self, message: Message) -> Message:
        return message

    def _note(self) -> None:
        """Note the runs that ended before, and left nothing: ends after them are its own."""
        self._roll.catch_up(_TIMEOUT)
        self._known = self._roll.runs
        self._ends = None
        if self._known and not self._roll.is_running and not self._is_drained(_TIMEOUT):
            self._known -= 1
        self._ends = None

    def _is_over(self) -> bool:
        self._roll.look()
        return self._roll.runs > self._known and self._is_drained(_COMMITTED_WITHIN)

    def _is_drained(self, seconds: float) -> bool:
        """Whether all was used that there was when this was first asked."""
        if self._ends is None:
            self._ends = {number: self._end(number) for number in self._partitions()}
        positions = self._positions(list(self._ends), seconds)
        return all(max(positions.get(number, 0), 0) >= end for number, end in self._ends.items())

    def _positions(self, partitions: list[int], seconds: float) -> dict[int, int]:
        """How far the stream was used."""
        return self._next

    def _end(self, partition: int) -> int:
        at = TopicPartition(self._topic, partition)
        try:
            low, high = self._consumer.get_watermark_offsets(at, timeout=_TIMEOUT)
        except KafkaException as exc:
            raise failure(self._where, exc.args[0]) from exc
        # An empty one needs no reading, wherever it begins.
        return int(high) if high > low else 0

    def _partitions(self) -> list[int]:
        try:
            found = self._consumer.list_topics(self._topic, timeout=_TIMEOUT)
        except KafkaException as exc:
            raise failure(self._where, exc.args[0]) from exc
        return list(found.topics[self._topic].partitions)


class KafkaSubscriber(_KafkaReader):
    """Reads all of a topic, whoever else does.

    Offsets are ``"partition:offset"``. The stream ends with the newest run of
    producers, which may be over already; with ``"$"`` with the next. That a
    producer died without ending is not noticed, and no later run ends then: give
    timeouts, and take another topic after that.

    Args:
        bootstrap_servers: ``host:port`` of some brokers, separated by commas.
        topic: What to receive.
        start: Where to begin: ``"0"`` at the first message that is kept, ``"$"``
            after the last.
        options: More configuration of the client.

    Raises:
        BrokerUnavailableError: The brokers cannot be reached.
    """

    # Any: options of different types.
    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        start: Literal["0", "$"] = "0",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(bootstrap_servers, topic, options=options)
        for number in self._partitions():
            end = self._end(number) if start == "$" else 0
            self._next[number] = end or OFFSET_BEGINNING
        self._assign(self._next)
        self._note()

    @property
    def capabilities(self) -> frozenset[BrokerCapability]:
        return frozenset({BrokerCapability.REPLAY})

    def seek(self, offset: str | int) -> None:
        """As `Replaying.seek`; other partitions stay where they are."""
        partition, _, place = str(offset).partition(":")
        try:
            at = TopicPartition(self._topic, int(partition), int(place))
        except ValueError as exc:
            raise ValueError(
                f"An offset of Kafka is 'partition:offset', as a message had it, not {offset!r}."
            ) from exc
        self._next[at.partition] = at.offset
        self._assign(self._next)
        self._note()

    def _is_assigned(self) -> bool:
        if not self._next:
            self._assign(dict.fromkeys(self._partitions(), OFFSET_BEGINNING))
        return bool(self._next)

    def _assign(self, places: dict[int, int]) -> None:
        self._next = dict(places)
        at = [TopicPartition(self._topic, number, place) for number, place in places.items()]
        self._consumer.assign(at)


class KafkaGroupSubscriber(_KafkaReader):
    """A member of a group, which together gets all of a topic, each message by one member.

    Members share the partitions: more members than partitions leave some idle.
    What a member that died did not acknowledge another one gets; what was
    rejected comes again to the same one, and after `max_deliveries` goes to the
    topic `dead_letters`. Deliveries are counted by the member, so they begin anew
    with another one. The stream has ended for the group once all is acknowledged;
    a member that comes after that waits for the next producers to begin. That one
    died without ending is not noticed, as for `KafkaSubscriber`. `close` waits for the
    group half a second at most: a thread goes on leaving, and a process that ends
    before it is done leaves by its session's timeout.

    Args:
        bootstrap_servers: ``host:port`` of some brokers, separated by commas.
        topic: What to receive.
        group: Its name.
        max_deliveries: How often a member is given a message before it is dead.
        options: More configuration of the client.
    """

    delivery = Delivery.ONE

    # Any: options of different types.
    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        group: str,
        max_deliveries: int = 5,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            bootstrap_servers, topic, options={**(options or {}), "group.id": group}
        )
        self._group = group
        self._max_deliveries = checked_count("max_deliveries", max_deliveries)
        self._servers, self._more = bootstrap_servers, options
        self._deliveries: dict[str, int] = {}
        # Before it joins: while the group shares out partitions it says nothing.
        self._note()
        # Makes the topic, which the group would notice with its next look at all topics only.
        self._partitions()
        self._consumer.subscribe([topic])

    @property
    def capabilities(self) -> frozenset[BrokerCapability]:
        return frozenset({BrokerCapability.GROUPS, BrokerCapability.DEAD_LETTERS})

    @property
    def dead_letters(self) -> str:
        """The topic of messages that were delivered too often."""
        return f"{self._topic}.{self._group}.dead"

    def acknowledge(self, message: Message) -> None:
        self._deliveries.pop(str(message.offset), None)
        at = self._place(message)
        at.offset += 1
        try:
            self._consumer.commit(offsets=[at], asynchronous=False)
        except KafkaException as exc:
            raise failure(self._where, exc.args[0]) from exc

    def reject(self, message: Message) -> None:
        if message.deliveries >= self._max_deliveries:
            self._bury(message)
            return
        try:
            self._consumer.seek(self._place(message))
        except KafkaException as exc:
            # Assigned to another member by now, which gets it.
            if exc.args[0].code() != KafkaError._STATE:
                raise failure(self._where, exc.args[0]) from exc

    def _given(self, message: Message) -> Message:
        name = str(message.offset)
        self._deliveries[name] = self._deliveries.get(name, 0) + 1
        return Message(message.data, message.offset, self._deliveries[name])

    def _positions(self, partitions: list[int], seconds: float) -> dict[int, int]:
        asked = [TopicPartition(self._topic, number) for number in partitions]
        try:
            found = self._consumer.committed(asked, seconds)
            return {at.partition: at.offset for at in found}
        except KafkaException as exc:
            if exc.args[0].code() == KafkaError._TIMED_OUT:
                return {}
            raise failure(self._where, exc.args[0]) from exc

    def _leave(self) -> None:
        leaving = threading.Thread(target=self._leave_group, name="kafka-leave", daemon=True)
        leaving.start()
        leaving.join(_LEFT_WITHIN)

    def _leave_group(self) -> None:
        """Answer the group until it knows the member no more, and close then.

        The client can wait for ever, with the interpreter locked, for what it owes the
        group at close() (librdkafka 4041, 4884): no other thread could end that.
        """
        deadline = time.monotonic() + _TIMEOUT
        try:
            self._consumer.unsubscribe()
            while self._consumer.memberid() and time.monotonic() < deadline:
                self._consumer.poll(_POLLED)
        finally:
            self._consumer.close()

    def _bury(self, message: Message) -> None:
        grave = KafkaPublisher(self._servers, options=self._more)
        grave.send_message(self.dead_letters, message.data)
        grave.close()
        self.acknowledge(message)

    def _place(self, message: Message) -> TopicPartition:
        partition, _, offset = str(message.offset).partition(":")
        return TopicPartition(self._topic, int(partition), int(offset))
