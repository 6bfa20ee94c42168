"""`Future`: one result that is to come, which any process may give and any may wait for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeVar

from proxystore.abc import Key, Lifetime
from proxystore.errors import KeyAlreadySetError
from proxystore.proxy import Proxy
from proxystore.store import Store
from proxystore.store.types import DeserializerT, SerializerT
from proxystore_patterns.errors import (
    FutureAlreadyDoneError,
    LifetimeEndedError,
    NoResultError,
    PatternsError,
)
from proxystore_patterns.futures._factory import FutureFactory, require_store
from proxystore_patterns.futures._late import bind, ended_error, has_ended, settle
from proxystore_patterns.futures._outcomes import (
    CANCELLED,
    Kind,
    Outcome,
    described,
    error_of,
    failure,
    read,
    success,
)
from proxystore_patterns.futures._producers import Lease, has_begun
from proxystore_patterns.futures._waits import await_outcome, require_outcome
from proxystore_patterns.futures._watching import Call, Watch, wait_in_loop

__all__ = ["Future", "future"]

T = TypeVar("T")

_log = logging.getLogger(__name__)


def future(
    store: Store[Any],
    *,
    evict: bool = False,
    lifetime: Lifetime | None = None,
    serializer: SerializerT | None = None,
    deserializer: DeserializerT | None = None,
) -> Future[Any]:
    """A future whose result will be in ``store``. Costs nothing there until it is set.

    Args:
        store: Of a connector that is `Deferrable`.
        evict: Remove the result once it was got: it is for one consumer. The connector must
            be `Replaceable` too: only what takes its place can tell the others.
        lifetime: Ends the future too: the result is evicted, one that comes later is refused,
            and who waits is told (`LifetimeEndedError`). Costs a request, one when the
            result is set, and a few for who waits. Not with ``evict``.
        serializer: Used for the result instead of the store's.
        deserializer: The inverse of ``serializer``.

    Raises:
        CapabilityError: The connector cannot make keys before objects, or replace them.
        TypeError: ``store`` or ``lifetime`` is none.
        LifetimeEndedError: ``lifetime`` has ended.
        ValueError: Both ``evict`` and ``lifetime``.
    """
    require_store(store, evict=evict)
    if evict and lifetime is not None:
        raise ValueError(
            "A result ends either with its first use (evict=True) or with a lifetime. "
            "Leave out one of the two."
        )
    watch = store.watch("store.future")
    key = store.new_key()
    mark = None if lifetime is None else bind(store, key, lifetime)
    factory: FutureFactory[Any] = FutureFactory(
        key, store, evict=evict, deserializer=deserializer, mark=mark
    )
    watch.stop(key)
    return Future(factory, serializer=serializer)


class Future(Generic[T]):
    """A result that is to come. Thread safe; pickles small, to where the result will be.

    Whoever has it, in whichever process, may give the result, wait for it or cancel it;
    one outcome counts, the first. Equal to itself only.

    Args:
        factory: Of its proxies.
        serializer: Used for the result instead of the store's.
    """

    def __init__(
        self,
        factory: FutureFactory[T],
        *,
        serializer: SerializerT | None = None,
    ) -> None:
        self._factory = factory
        self._serializer = serializer
        # Outcomes and ends are final: what was done once need not be asked for again.
        self._is_done = False

    # --- For those who wait -----------------------------------------------------

    @property
    def key(self) -> Key:
        """Of the result, in its store."""
        return self._factory.key

    @property
    def store(self) -> Store[Any]:
        """Where the result will be; opened if it is not open here."""
        return self._factory.get_store()

    def proxy(self, *, timeout: float | None = None) -> Proxy[T]:
        """A proxy of the result, which waits for it where it is first used.

        It may travel before the result exists. If there is no result it raises what
        `result` raises.

        Args:
            timeout: Seconds to wait there; `None`: for ever, unless the producer dies.
        """
        return Proxy(self._factory.waiting(timeout))

    def result(self, timeout: float | None = None) -> T:
        """The result, once it is there.

        Args:
            timeout: Seconds to wait; `None`: for ever, unless the producer dies.

        Raises:
            Exception: What the producer raised, with its traceback as a note.
            ProducerRaisedError: It raised what cannot be raised here.
            FutureTimeoutError: There was no outcome in time.
            FutureCancelledError: It was cancelled.
            ProducerDiedError: The producer began, and died.
            LifetimeEndedError: The lifetime of the future has ended, and the result with it.
            ResultTakenError: Another consumer has it, and the future was made with ``evict``.
            ObjectNotFoundError: It was evicted.
            SerializationError: The result cannot be deserialized here.
            ConnectorUnavailableError: The medium cannot be reached.
        """
        outcome = self._await(timeout)
        return self._factory.open(self.store, self.key, outcome)

    def exception(self, timeout: float | None = None) -> Exception | None:
        """What `result` would raise, once that is known; `None` if there is a result.

        Reads the outcome, which costs as much as the result does.

        Args:
            timeout: Seconds to wait; `None`: for ever, unless the producer dies.

        Raises:
            FutureTimeoutError: There was no outcome in time.
            ObjectNotFoundError: It was evicted.
            ConnectorUnavailableError: The medium cannot be reached.
        """
        try:
            outcome = self._await(timeout)
        except LifetimeEndedError as error:
            return error
        return error_of(self.store, self.key, outcome)

    def done(self) -> bool:
        """Whether there is a result, an exception or a cancellation, or its lifetime has ended."""
        self._is_done = (
            self._is_done
            or self.store.exists(self.key)
            or has_ended(self.store, self._factory.mark)
        )
        return self._is_done

    def cancelled(self) -> bool:
        """Whether the future was cancelled."""
        outcome = read(self.store, self.key)
        return outcome is not None and outcome[0] == Kind.CANCELLED

    def running(self) -> bool:
        """Whether a producer said that it has begun, and the future is not done."""
        return not self.done() and has_begun(self.store, self.key)

    # Any: what the callback returns is not used.
    def add_done_callback(self, call: Callable[[Future[T]], Any]) -> None:
        """Call ``call`` with this future once it is done, in a thread that others share.

        Calls come soon after each other, so they must not wait. What they raise is
        logged. If the medium is lost the call is made too, and `result` says so.
        """

        def on_done() -> None:
            try:
                call(self)
            except BaseException:  # noqa: BLE001 - also SystemExit: others wait for theirs.
                _log.exception("A callback of %r failed.", self)

        self._watch(on_done)

    def _watch(self, call: Call) -> Watch:
        """Have ``call`` made once this is done, however many are watched."""
        return Watch(self.store, self.key, self._factory.mark, call)

    def __await__(self) -> Generator[Any, None, T]:
        """As `result`, without holding up the event loop."""
        return self._aresult().__await__()

    async def _aresult(self) -> T:
        import asyncio

        if not self._is_done:
            await wait_in_loop(self.store, self.key, self._factory.mark)
        return await asyncio.to_thread(self.result)

    # --- For those who produce ----------------------------------------------------

    def set_result(self, value: T) -> None:
        """Give the result to all who wait, or will.

        Raises:
            FutureAlreadyDoneError: There is an outcome, which stands.
            LifetimeEndedError: That of the future has ended, and nobody can have the result.
            SerializationError: Nothing can serialize the result; there is no outcome yet.
            MediumFullError: There is no room; there is no outcome yet.
        """
        self._settle(success(value, self._serializer or self.store.serializer))

    def set_exception(self, error: BaseException) -> None:
        """Let all who wait, or will, raise ``error``.

        Raises:
            FutureAlreadyDoneError: There is an outcome, which stands.
            LifetimeEndedError: That of the future has ended.
            TypeError: ``error`` is no exception, but a class of them, say.
        """
        if not isinstance(error, BaseException):
            raise TypeError(
                f"set_exception() takes an exception, and got a {type(error).__qualname__}. Make "
                f"one of it, as in set_exception(RuntimeError(...))."
            )
        self._settle(failure(error))

    def cancel(self) -> bool:
        """Let there be no result, and give whether the future is cancelled.

        A producer at work is not stopped; it is told when it comes with its result.
        """
        try:
            self._settle(CANCELLED)
        except (FutureAlreadyDoneError, LifetimeEndedError):
            return self.cancelled()
        return True

    @contextmanager
    def producing(self, *, lease: float = 30.0) -> Iterator[None]:
        """Show that somebody is at work on the result, while a `with` block runs.

        Should the process die in it, those who wait are told (`ProducerDiedError`) once
        ``lease`` seconds are over, and a few more where they are thousands. An exception
        that leaves the block becomes that of the future, and goes on.

        Args:
            lease: Seconds; more than the block keeps all other Python threads waiting.

        Raises:
            FutureAlreadyDoneError: It is done or cancelled, so there is nothing to do.
            LifetimeEndedError: Its lifetime has ended.
            NoResultError: The block ended and gave no outcome. Those who wait are told too.
            CapabilityError: The store's medium is not `Leasable`.
        """
        if self.done():
            raise self._refusal()
        held = Lease(self.store, self.key, lease)
        held.begin()
        try:
            yield
        except BaseException as error:
            with suppress(FutureAlreadyDoneError, LifetimeEndedError):
                self.set_exception(error)
            raise
        else:
            self._require_result()
        finally:
            # Without an outcome, as where the medium has no room for it, the marks tell of a death.
            held.end(keep_begun=not self.done())

    def _require_result(self) -> None:
        if self.done():
            return
        error = NoResultError(repr(self.key), self.store.name)
        with suppress(FutureAlreadyDoneError, LifetimeEndedError):
            self.set_exception(error)
        raise error

    def _settle(self, outcome: Outcome) -> None:
        if self._is_done:
            # It may have been evicted, and is not to come back as another one.
            raise self._refusal()
        try:
            settle(self.store, self.key, self._factory.mark, outcome)
        except KeyAlreadySetError:
            raise self._refusal() from None
        self._is_done = True

    def _refusal(self) -> PatternsError:
        """Why a future that is done takes no outcome."""
        outcome = read(self.store, self.key)
        if outcome is None and has_ended(self.store, self._factory.mark):
            return ended_error(self.store, self.key)
        return FutureAlreadyDoneError(repr(self.key), self.store.name, described(outcome))

    def _await(self, timeout: float | None) -> Outcome:
        if self._is_done:
            return require_outcome(self.store, self.key, self._factory.mark)
        outcome = await_outcome(self.store, self.key, self._factory.mark, timeout)
        self._is_done = True
        return outcome

    def __reduce__(self) -> tuple[object, ...]:
        if self._serializer is None:
            return Future, (self._factory,)
        return _load, (self._factory, self._serializer)

    def __repr__(self) -> str:
        # Asks nobody: it is printed in debuggers, and the medium may be far.
        return f"<Future {self._factory.facts()['key']} in store {self._factory.facts()['store']}>"


# Any: a future of any type.
def _load(factory: FutureFactory[Any], serializer: SerializerT) -> Future[Any]:
    return Future(factory, serializer=serializer)
