"""`DAOSConnector`: objects as entries of a dictionary in a DAOS container."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, NamedTuple, Self

from proxystore.abc import Acknowledgement, Capability, Connector, Medium
from proxystore.connectors.keys import checked_id, fresh_id
from proxystore.connectors.options import check_range
from proxystore.errors import (
    ClosedError,
    ConnectorUnavailableError,
    CorruptObjectError,
    NotOwnerError,
)
from proxystore.payload import BytesLike, Payload, payload_nbytes
from proxystore_connectors_daos._address import Address
from proxystore_connectors_daos._namespace import Namespace
from proxystore_connectors_daos._records import (
    CHUNK_NBYTES,
    HEAD_NBYTES,
    INLINE_NBYTES,
    Head,
    chunk_names,
    chunks_of,
    head_of,
)

__all__ = ["DAOSConnector", "DAOSKey"]

# pydaos has that many requests under way; with more, memory grows and time does not shrink.
_AT_ONCE = 16


class DAOSKey(NamedTuple):
    """Key of an object in a `DAOSConnector`."""

    id: str
    """1 to 64 characters of ``[A-Za-z0-9_-]``."""


class DAOSConnector(Connector[DAOSKey]):
    """Keeps objects in a DAOS container of type PYTHON, seen by every host of the system.

    Whoever creates the namespace, a named dictionary in the container, owns it,
    in that process, and clears it on `close`; opening an existing one owns
    nothing. DAOS keeps the name of a cleared namespace: to own it again, as
    when a program runs again, say ``adopt=True``.

    Objects have no bound of their own. Those up to 16 KiB are one value; larger
    ones move in chunks of 4 MiB, 16 at once, so that a client needs little more
    memory than the object. An object that is being read while it is evicted is
    absent or whole.

    pydaos has no timeouts, and holds the interpreter lock while it waits: DAOS's
    own settings say how long a call takes that cannot succeed.

    Args:
        pool: Label or UUID of the pool.
        container: Label or UUID of the container.
        namespace: Name of the dictionary, made if there is none.
        clear: Whether the owner's `close` clears the namespace.
        adopt: Own an existing namespace too. DAOS cannot tell whether its
            owner lives: only you know.

    Raises:
        ConfigError: One of the names is no string, or empty.
        ConnectorUnavailableError: pydaos is missing, or the container cannot be opened.
    """

    key_type: ClassVar[type] = DAOSKey
    _owner_pid: int | None = None
    _clears = False
    _closed = False

    def __init__(
        self,
        pool: str,
        container: str,
        namespace: str,
        *,
        clear: bool = True,
        adopt: bool = False,
    ) -> None:
        self._set_up(Address.checked(pool, container, namespace))
        if self._namespace.create() or adopt:
            self._owner_pid = os.getpid()
            self._clears = clear

    def _set_up(self, address: Address) -> None:
        self._address = address
        self._namespace = Namespace(address)

    def __repr__(self) -> str:
        return f"<DAOSConnector {self._address}>"

    def put(self, payload: Payload) -> DAOSKey:
        self._check_open()
        key = DAOSKey(fresh_id())
        self._write(key.id, payload)
        return key

    def get(self, key: DAOSKey) -> BytesLike | None:
        """As `Connector.get`: a read-only view up to 16 KiB, else writable memory of its own."""
        head = self._head(key)
        return None if head is None else self._part(key.id, head, 0, head.nbytes)

    def get_range(self, key: DAOSKey, offset: int, length: int) -> BytesLike | None:
        """As `Ranged.get_range`. Moves whole chunks of 4 MiB."""
        check_range(offset, length)
        head = self._head(key)
        if head is None:
            return None
        start = min(offset, head.nbytes)
        return self._part(key.id, head, start, min(start + length, head.nbytes))

    def exists(self, key: DAOSKey) -> bool:
        """As `Connector.exists`. Moves what is up to 16 KiB: DAOS has no cheaper question."""
        return self._head(key) is not None

    def evict(self, key: DAOSKey) -> None:
        head = self._head(key)
        if head is not None:
            self._remove(key.id, head.chunks)

    def put_batch(self, payloads: Sequence[Payload]) -> list[DAOSKey]:
        """As `Connector.put_batch`. Small objects go together. If one fails, all are removed."""
        self._check_open()
        keys = [DAOSKey(fresh_id()) for _ in payloads]
        small: dict[str, bytes] = {}
        large: list[tuple[str, Payload]] = []
        for key, payload in zip(keys, payloads, strict=True):
            if payload_nbytes(payload) > INLINE_NBYTES:
                large.append((key.id, payload))
            else:
                small[key.id] = head_of(payload)
        try:
            self._namespace.write(small)
            for name, payload in large:
                self._write(name, payload)
        except BaseException:
            with contextlib.suppress(ConnectorUnavailableError):
                for key in keys:
                    self.evict(key)
            raise
        return keys

    def get_batch(self, keys: Sequence[DAOSKey]) -> list[BytesLike | None]:
        """As `Connector.get_batch`. Small objects come together."""
        self._check_open()
        names = [checked_id(key, DAOSKey) for key in keys]
        found: list[BytesLike | None] = []
        for name, value in zip(names, self._namespace.read(names, HEAD_NBYTES), strict=True):
            head = None if value is None else Head.parse(value, name)
            found.append(None if head is None else self._part(name, head, 0, head.nbytes))
        return found

    # --- The medium -----------------------------------------------------------

    @property
    def capabilities(self) -> frozenset[Capability]:
        """`CROSS_PROCESS` and `RANGED`: pydaos has no conditional write for more."""
        return frozenset({Capability.CROSS_PROCESS, Capability.RANGED})

    @property
    def medium(self) -> Medium:
        return Medium.NETWORK

    @property
    def acknowledges(self) -> Acknowledgement:
        """`PROCESS`. Pools on persistent memory, or with metadata on SSD, survive more."""
        return Acknowledgement.PROCESS

    @property
    def url(self) -> str:
        """``daos://POOL/CONTAINER/NAMESPACE``; `from_url` makes an equal connector of it."""
        return self._address.to_url()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """A connector to the namespace that ``url`` names. Opens nothing, never owns it.

        Raises:
            ConfigError: It is not ``daos://POOL/CONTAINER/NAMESPACE``.
        """
        return cls._attached(Address.from_url(url))

    def config(self) -> dict[str, Any]:
        return self._address.to_config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """As `Connector.from_config`. Opens nothing: an absent namespace shows on first use.

        Raises:
            ConfigError: An option has an unknown name or a wrong value.
        """
        return cls._attached(Address.from_config(config))

    @classmethod
    def _attached(cls, address: Address) -> Self:
        made = cls.__new__(cls)
        made._set_up(address)
        return made

    def close(self, *, clear: bool | None = None) -> None:
        """As `Connector.close`. Only an owner made with ``clear=True`` clears by default.

        If DAOS cannot be reached to clear, the connector stays open: close it again, or with
        ``clear=False``.
        """
        # A forked child has a copy of the object, and owns nothing.
        owns = self._owner_pid == os.getpid()
        if clear and not owns:
            raise NotOwnerError(str(self._address))
        if self._closed:
            return
        if owns and (self._clears if clear is None else clear):
            self._namespace.clear()
        self._closed = True
        self._namespace.release()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(repr(self))

    # --- Objects --------------------------------------------------------------

    def _head(self, key: DAOSKey) -> Head | None:
        self._check_open()
        name = checked_id(key, DAOSKey)
        (value,) = self._namespace.read([name], HEAD_NBYTES)
        return None if value is None else Head.parse(value, name)

    def _write(self, name: str, payload: Payload) -> None:
        head, chunks = head_of(payload), 0
        try:
            if payload_nbytes(payload) > INLINE_NBYTES:
                for batch in _batches(chunks_of(payload)):
                    names = chunk_names(name, chunks, chunks + len(batch))
                    chunks += len(batch)
                    self._namespace.write(dict(zip(names, batch, strict=True)))
            # Last: with its head the object is there, and then it is whole.
            self._namespace.write({name: head})
        except BaseException:
            with contextlib.suppress(ConnectorUnavailableError):
                self._remove(name, chunks)
            raise

    def _remove(self, name: str, chunks: int) -> None:
        # The head first, and alone: without it nobody looks for chunks.
        self._namespace.remove([name])
        if chunks:
            self._namespace.remove(chunk_names(name, 0, chunks))

    def _part(self, name: str, head: Head, start: int, stop: int) -> BytesLike | None:
        """Bytes ``start`` to before ``stop`` of an object, `None` if it goes meanwhile."""
        if head.inline is not None:
            return head.inline[start:stop]
        if start == stop:
            return b""
        # Private, for a forked child must not see what the parent writes; and not a
        # bytearray, which is filled with zeros first.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        whole = memoryview(mmap.mmap(-1, stop - start, flags=flags))
        first, last = start // CHUNK_NBYTES, (stop - 1) // CHUNK_NBYTES
        for number in range(first, last + 1, _AT_ONCE):
            names = chunk_names(name, number, min(number + _AT_ONCE, last + 1))
            for chunk, value in enumerate(self._namespace.read(names, CHUNK_NBYTES), number):
                if value is None:
                    return None
                if len(value) != head.chunk_nbytes(chunk):
                    raise CorruptObjectError(f"chunk {chunk} of {name!r} has {len(value)} bytes")
                _place(value, chunk * CHUNK_NBYTES - start, whole)
        return whole


def _place(value: bytes, at: int, target: memoryview) -> None:
    """Copy what falls into ``target`` of ``value``, whose first byte belongs at ``at``."""
    begin, end = max(0, at), min(len(target), at + len(value))
    target[begin:end] = memoryview(value)[begin - at : end - at]


def _batches(chunks: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(chunks, _AT_ONCE)):
        yield batch
