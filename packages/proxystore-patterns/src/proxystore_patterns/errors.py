"""What can go wrong with patterns. Each error survives pickling."""

from __future__ import annotations

from concurrent.futures import CancelledError, InvalidStateError

from proxystore.errors import ProxyResolveError, ProxyStoreError, install_advice

__all__ = [
    "BadEventError",
    "BaseRefProxyError",
    "BrokerUnavailableError",
    "EndOfStreamError",
    "EventEncodingError",
    "EventObjectMissingError",
    "ExecutorShutDownError",
    "ExtraNotInstalledError",
    "ForbiddenStoreError",
    "FutureAlreadyDoneError",
    "FutureCancelledError",
    "FutureTimeoutError",
    "FuturesTimeoutError",
    "JobNotFoundError",
    "LifetimeEndedError",
    "MutableBorrowError",
    "NoResultError",
    "PatternsError",
    "ProducerDiedError",
    "ProducerFailedError",
    "ProducerRaisedError",
    "ProducersLostError",
    "ReferenceCopyError",
    "ReferenceInvalidError",
    "ReferenceMovedError",
    "ReferenceNotOwnedError",
    "ResultTakenError",
    "StillBorrowedError",
    "StreamCapabilityError",
    "StreamError",
    "StreamFullError",
    "StreamTimeoutError",
    "TopicClosedError",
]


class PatternsError(ProxyStoreError):
    """The root of the errors of this distribution."""


class ExtraNotInstalledError(PatternsError, ImportError):
    """A module was imported whose library comes with an extra, and is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        self.library, self.extra = library, extra
        super().__init__(
            f"This needs the library {library!r}, which is not installed and comes with an extra. "
            f"{install_advice(f'proxystore-patterns[{extra}]')}"
        )


# --- Futures -------------------------------------------------------------------


class FutureAlreadyDoneError(PatternsError, InvalidStateError):
    """A future was given a second outcome; the first stands.

    Args:
        key: Of the future.
        store: Its name.
        outcome: What it had, such as ``"a result"``.
    """

    def __init__(self, key: str, store: str, outcome: str) -> None:
        self.key, self.store, self.outcome = key, store, outcome
        super().__init__(
            f"Future {key} in store {store!r} already has {outcome}, and has one outcome only. "
            f"Make a future for each result."
        )


class FutureTimeoutError(PatternsError, TimeoutError):
    """A future was not done in time.

    Args:
        key: Of the future.
        store: Its name.
        timeout: Seconds that were waited.
        producer: What is known of its producer, a clause.
    """

    def __init__(self, key: str, store: str, timeout: float, producer: str) -> None:
        self.key, self.store, self.timeout, self.producer = key, store, timeout, producer
        super().__init__(
            f"Future {key} in store {store!r} was not done within {timeout:g} s: {producer}. "
            f"Wait longer, or look at what became of the task that has to set it."
        )


class FuturesTimeoutError(PatternsError, TimeoutError):
    """Of several futures, some were not done in time."""

    def __init__(self, n_missing: int, n_all: int, timeout: float) -> None:
        self.n_missing, self.n_all, self.timeout = n_missing, n_all, timeout
        super().__init__(
            f"{n_missing} of {n_all} futures were not done within {timeout:g} s. Wait longer, or "
            f"look at what became of the tasks that have to set them."
        )


class FutureCancelledError(PatternsError, CancelledError):
    """A future was cancelled, so it has no result."""

    def __init__(self, key: str, store: str) -> None:
        self.key, self.store = key, store
        super().__init__(
            f"Future {key} in store {store!r} was cancelled. Make another one for another attempt."
        )


class ProducerDiedError(PatternsError, RuntimeError):
    """Whoever was to set a future had begun, and then was not heard of any more.

    Args:
        key: Of the future.
        store: Its name.
        producer: Which process it was.
    """

    def __init__(self, key: str, store: str, producer: str) -> None:
        self.key, self.store, self.producer = key, store, producer
        super().__init__(
            f"The producer of future {key} in store {store!r} ({producer}) did not renew its "
            f"lease, so it has died or hangs. Run its task again with another future; if the "
            f"task holds the interpreter for long, give producing() a longer lease."
        )


class NoResultError(PatternsError, RuntimeError):
    """The block that was to produce the result of a future ended without it."""

    def __init__(self, key: str, store: str) -> None:
        self.key, self.store = key, store
        super().__init__(
            f"The producing() block of future {key} in store {store!r} ended and the future had "
            f"no outcome. Call set_result() or set_exception() in it."
        )


class ProducerRaisedError(PatternsError, RuntimeError):
    """The producer of a future failed with an exception that cannot be raised here.

    Args:
        type_name: Of the exception.
        text: Of the exception.
        found: Why it is not itself raised, a clause.
        advice: What would let it be, a full sentence.
    """

    def __init__(self, type_name: str, text: str, found: str, advice: str) -> None:
        self.type_name, self.text, self.found, self.advice = type_name, text, found, advice
        super().__init__(
            f"The producer of a future raised {type_name}: {text} (It is not raised as itself: "
            f"{found}. {advice})"
        )


class ResultTakenError(PatternsError, LookupError):
    """The result of a future that is for one consumer went to another one."""

    def __init__(self, key: str, store: str) -> None:
        self.key, self.store = key, store
        super().__init__(
            f"The result of future {key} in store {store!r} was taken, for the future was made "
            f"with evict=True. Make it without, and evict the result or give it a lifetime."
        )


# --- Lifetimes -----------------------------------------------------------------


class LifetimeEndedError(PatternsError, RuntimeError):
    """Something was added to a lifetime that has ended, or waited for; it was evicted."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"The lifetime {name} has ended, and with it what it held or was to hold. Make the "
            f"lifetime last as long as its objects are used, or make another one."
        )


class JobNotFoundError(PatternsError, LookupError):
    """A job was to be named by the environment, which names none."""

    def __init__(self) -> None:
        super().__init__(
            "This process runs in no Slurm job: SLURM_JOB_ID is not set. Pass job_id=, or use "
            "a ContextLifetime or LeaseLifetime outside of jobs."
        )


# --- Ownership ----------------------------------------------------------------


class BaseRefProxyError(PatternsError, ProxyResolveError):
    """An object was used against the rules of ownership."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class MutableBorrowError(BaseRefProxyError):
    """There would have been a writer beside somebody else.

    Args:
        asked: What was asked for, as in ``"borrow it"``.
        found: Who has the object, a clause.
    """

    def __init__(self, asked: str, found: str) -> None:
        self.asked, self.found = asked, found
        super().__init__(
            f"Cannot {asked}: {found}. An object has many readers or one writer. End the other "
            f"borrow first: delete its proxy, or let submit() end it with its task."
        )


class StillBorrowedError(BaseRefProxyError):
    """An object was to be dropped or moved while somebody had borrowed it.

    Args:
        asked: What was asked for, as in ``"drop it"``.
        found: Who has the object, a clause.
    """

    def __init__(self, asked: str, found: str) -> None:
        self.asked, self.found = asked, found
        super().__init__(
            f"Cannot {asked}: {found}. End every borrow of the object first: delete its proxy, "
            f"or let submit() end it with its task."
        )


class ReferenceNotOwnedError(BaseRefProxyError, TypeError):
    """Something was asked of a proxy whose kind cannot do it."""

    def __init__(self, asked: str, wanted: str, found: str) -> None:
        self.asked, self.wanted, self.found = asked, wanted, found
        super().__init__(
            f"{asked} takes {wanted}, and got {found}. own() and into_owned() make an owner, "
            f"from which borrow() and mut_borrow() make references."
        )


class ReferenceCopyError(BaseRefProxyError, NotImplementedError):
    """`copy` was asked for a second proxy of one owner, or of one borrow.

    Args:
        what: The proxy, such as ``"OwnedProxy"``.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(
            f"A {what} cannot be copied, for there would be two where the rules of ownership "
            f"count one. Make another object with clone(), or another reader with borrow().",
        )


class ReferenceInvalidError(BaseRefProxyError):
    """A reference was used that has come to its end.

    Args:
        what: The reference, such as ``"RefProxy"``.
        found: How it ended, a clause.
        advice: What to do next, a full sentence.
    """

    def __init__(self, what: str, found: str, advice: str) -> None:
        self.what, self.found, self.advice = what, found, advice
        super().__init__(f"This {what} cannot be used: {found}. {advice}")


class ReferenceMovedError(ReferenceInvalidError):
    """A reference was used that went elsewhere by pickle, or whose bytes were opened before.

    Args:
        what: The reference, such as ``"OwnedProxy"``.
        holder: Who has it now, such as ``"process 7 on host a"``.
    """

    def __init__(self, what: str, holder: str) -> None:
        self.holder = holder
        super().__init__(
            what,
            f"it went to {holder}, which opened its pickle first or used it again",
            "A pickle moves it once. Let one task have it, and give others borrow() or clone().",
        )


# --- Streams --------------------------------------------------------------------


class StreamError(PatternsError):
    """Base of the errors about streams and brokers."""


class EndOfStreamError(StreamError, EOFError):
    """The last producer of a topic has ended, and everything was delivered."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        super().__init__(
            f"The stream of topic {topic!r} has ended: its last producer has. "
            f"Iterate over a StreamConsumer to stop at the end."
        )


class ProducersLostError(StreamError, ConnectionError):
    """Every producer that is left of a topic died without ending it.

    What was sent before was delivered.
    """

    def __init__(self, topic: str, found: str) -> None:
        self.topic, self.found = topic, found
        super().__init__(
            f"The stream of topic {topic!r} will not end by itself: {found}. What was sent "
            f"before was delivered; start the producers again, or take this as the end."
        )


class ProducerFailedError(StreamError, RuntimeError):
    """A producer of a topic was closed because something in it raised.

    Told once for each that fails. What it had sent was delivered before.

    Args:
        topic: What it sent to.
        found: What was raised, as text.
    """

    def __init__(self, topic: str, found: str) -> None:
        self.topic, self.found = topic, found
        super().__init__(
            f"A producer of topic {topic!r} failed: {found}. What it sent before was delivered, "
            f"and what its other producers send will be; ask for the next object to go on, or "
            f"start the producer again."
        )


class TopicClosedError(StreamError, ValueError):
    """Something was sent to a topic that this producer has ended."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        super().__init__(
            f"This producer has ended topic {topic!r}, so nothing was sent. Send before "
            f"close_topics(), or make a new StreamProducer to go on."
        )


class StreamTimeoutError(StreamError, TimeoutError):
    """Nothing happened on a topic in the time that was given."""

    def __init__(self, topic: str, asked: str, timeout: float) -> None:
        self.topic, self.asked, self.timeout = topic, asked, timeout
        super().__init__(
            f"No {asked} on topic {topic!r} within {timeout:g} s. See that the other side "
            f"runs, or give a longer timeout."
        )


class StreamFullError(StreamTimeoutError):
    """Consumers did not use what is in flight in time, so nothing more was sent."""

    def __init__(self, topic: str, bound: int, timeout: float) -> None:
        self.bound = bound
        super().__init__(topic, f"room below {bound} bytes in flight", timeout)


class BrokerUnavailableError(StreamError, ConnectionError):
    """A broker cannot be reached, or refused what was asked.

    Args:
        where: The broker, as a user would recognise it (host:port).
        found: What happened, a clause without a full stop.
        advice: What to do next, a full sentence.
    """

    def __init__(self, where: str, found: str, advice: str) -> None:
        self.where, self.found, self.advice = where, found, advice
        super().__init__(f"Cannot use {where}: {found}. {advice}")


class StreamCapabilityError(StreamError, TypeError):
    """A broker was asked for something that it cannot do."""

    def __init__(self, asked: str, broker: str, capability: str) -> None:
        self.asked, self.broker, self.capability = asked, broker, capability
        super().__init__(
            f"{asked} needs a broker with {capability}, and {broker} has none. The table of "
            f"brokers in the documentation says which have."
        )


class BadEventError(StreamError, ValueError):
    """A message of a broker is no event of ours, or was changed on its way."""

    def __init__(self, found: str) -> None:
        self.found = found
        super().__init__(
            f"A message is not an event: {found}. It was left out; see who else writes to "
            f"this topic, and that both sides have versions that know each other."
        )


class EventEncodingError(StreamError, TypeError):
    """An event would carry something that is not plain."""

    def __init__(self, what: str, found: str) -> None:
        self.what, self.found = what, found
        super().__init__(
            f"Cannot send {what}: it holds {found}, and events carry only str, int, float, "
            f"bool, None, bytes, and lists, tuples and dicts of them. Nothing was sent."
        )


class EventObjectMissingError(StreamError, LookupError, ValueError):
    """An event names an object that is not, or no longer, in its store."""

    def __init__(self, topic: str, key: str, store_name: str) -> None:
        self.topic, self.key, self.store_name = topic, key, store_name
        super().__init__(
            f"No object under {key} in store {store_name!r}, which an event of topic {topic!r} "
            f"names. Another consumer used it (send with evict=False if several want it), "
            f"or its store was closed."
        )


class ForbiddenStoreError(StreamError, PermissionError):
    """An event names a store that its consumer was told not to use."""

    def __init__(self, topic: str, address: str) -> None:
        self.topic, self.address = topic, address
        super().__init__(
            f"An event of topic {topic!r} names a store at {address}, which is none of those "
            f"that this consumer may use. Add it to stores= if whoever sent the event is trusted."
        )


# --- Executors ------------------------------------------------------------------


class ExecutorShutDownError(PatternsError, RuntimeError):
    """A task was given to an executor after that was shut down."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(
            f"Cannot schedule new futures after shutdown: {what} was shut down. Make another "
            f"one to go on."
        )
