"""An engine that asks store processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from proxystore.errors import ConnectorUnavailableError, MediumFullError, MediumGoneError
from proxystore.host.forks import remake_in_child
from proxystore_connectors_margo._library import Library
from proxystore_connectors_margo._messages import ANSWERS, RPC_NAME, VERSION, Op, Word

__all__ = ["Answer", "Client"]

Answer = tuple[Any, ...]
"""A `Word`, and what it comes with."""

# A large object may take longer than the timeout, but not at less than 10 MB/s.
_NBYTES_PER_SECOND = 10e6

# Engines that a forked child got from its parent. Never let go of: their finalizer
# would wait for threads that the child does not have.
_inherited: list[Any] = []


class _Engine:
    """An engine, with what is looked up in it once."""

    # Any: Margo's own, which has no types.
    def __init__(self, own: Any) -> None:
        self.own = own
        self.function = own.register(RPC_NAME)
        self.peers: dict[str, Any] = {}

    def remote(self, address: str) -> Any:
        """What to call in the process at ``address``."""
        peer = self.peers.get(address)
        if peer is None:
            peer = self.peers[address] = self.own.lookup(address)
        return self.function.on(peer)

    def finalize(self) -> None:
        # Before the engine, without which they cannot be freed.
        self.peers.clear()
        self.own.finalize()


class Client:
    """Calls store processes through one engine, made when it is needed. Thread safe.

    Args:
        engine: What an engine of Margo is given: a protocol, and where from.
        where: The medium, as a user would recognise it, for messages.
        timeout: Seconds until a call must have been answered.
        has_ended: Asked of an address that gave no answer: whether the store process
            there is known to have ended.
    """

    def __init__(
        self, engine: str, where: str, timeout: float, has_ended: Callable[[str], bool]
    ) -> None:
        self._given, self._where, self._timeout = engine, where, timeout
        self._has_ended = has_ended
        self._engine: _Engine | None = None
        self._calls = 0
        self._idle = threading.Condition()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        """Leave the parent's engine alone, and make another one on next use."""
        _inherited.append(self._engine)
        self._engine, self._calls, self._idle = None, 0, threading.Condition()

    def call(
        self,
        address: str,
        op: Op,
        object_id: str,
        *arguments: Any,
        buffers: Sequence[memoryview] | None = None,
        into: memoryview | None = None,
        seconds: float = 0.0,
    ) -> Answer:
        """What the store process at ``address`` answers.

        Args:
            address: Where it is.
            op: What to do.
            object_id: With which object.
            arguments: The others of the operation.
            buffers: To expose for reading; their handles and sizes are the first argument.
            into: To expose for writing; its handle is the first argument.
            seconds: How long the store process itself may take before it answers.

        Raises:
            MediumGoneError: There is no such process.
            MediumFullError: It has no room.
            ConnectorUnavailableError: It did not answer in time, failed, or speaks another version.
        """
        library = Library.load(self._where)
        nbytes = sum(map(len, buffers or ())) + len(into or b"")
        with self._using(library, address) as engine:
            handles: tuple[Any, ...] = ()
            if buffers is not None:
                mode = library.read_only
                handles = ([(engine.own.create_bulk(each, mode), len(each)) for each in buffers],)
            elif into is not None:
                handles = (engine.own.create_bulk(into, library.write_only) if into else None,)
            limit = self._timeout + seconds + nbytes / _NBYTES_PER_SECOND
            request = (VERSION, op.value, object_id, *handles, *arguments)
            answer = engine.remote(address)(*request, timeout=limit * 1000)
        return self._read(op, answer, address, nbytes)

    def close(self) -> None:
        """Let go of the engine when no thread calls through it any more. Idempotent."""
        with self._idle:
            self._idle.wait_for(lambda: self._calls == 0, self._timeout)
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.finalize()

    @contextmanager
    def _using(self, library: Library, address: str) -> Iterator[_Engine]:
        start = time.monotonic()
        with self._idle:
            if self._engine is None:
                self._engine = self._made(library)
            self._calls += 1
            engine = self._engine
        try:
            yield engine
        except (library.error, TimeoutError) as exc:
            engine.peers.pop(address, None)
            if self._has_ended(address):
                raise self._gone(address) from exc
            raise ConnectorUnavailableError(
                f"{self._where} at {address}",
                f"no answer after {time.monotonic() - start:.1f} s ({exc})",
                "See that the store process lives and the fabric works, or raise timeout=.",
            ) from exc
        finally:
            with self._idle:
                self._calls -= 1
                self._idle.notify_all()

    def _made(self, library: Library) -> _Engine:
        try:
            # With a progress thread: callers of several threads wait at once.
            return _Engine(library.engine(self._given, library.client, use_progress_thread=True))
        except (library.error, RuntimeError) as exc:
            raise ConnectorUnavailableError(
                self._where,
                f"Margo cannot use {self._given!r} here ({exc})",
                "Run 'hg_info' to see which protocols this host has.",
            ) from exc

    # Any: what came from another process.
    def _read(self, op: Op, answer: Any, address: str, nbytes: int) -> Answer:
        where = f"{self._where} at {address}"
        match answer:
            case (Word.FULL.value, str(advice)):
                raise MediumFullError(where, nbytes, advice)
            case (Word.OTHER_VERSION.value, version):
                raise ConnectorUnavailableError(
                    where,
                    f"it speaks version {version} of its protocol, and this process {VERSION}",
                    "Install one version of proxystore-connectors-margo for all of them.",
                )
            case (Word.FAILED.value, str(found)):
                advice = "See the log of the store process, and try again."
                raise ConnectorUnavailableError(where, found, advice)
            case (str(text), *rest):
                for word, types in ANSWERS[op].items():
                    if text == word.value and tuple(map(type, rest)) == types:
                        return (word, *rest)
        found = f"it answered {answer!r:.80}, which is no answer of this protocol"
        raise ConnectorUnavailableError(where, found, "See what listens at that address.")

    def _gone(self, address: str) -> MediumGoneError:
        return MediumGoneError(
            f"{self._where} at {address}",
            "there is no store process",
            "Its owner closed it or ended, or it was killed, and its objects went with it. Keep "
            "the store that made it open until every proxy was used.",
        )
