"""The contracts: what a connector, its optional capabilities and a lifetime are.

Everything here is a `Protocol` or an enum. A first-party connector subclasses
`Connector` and inherits its defaults; one written for the older system, which
knows only bytes, is adapted by `proxystore.connectors.adapt`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

from proxystore.payload import BytesLike, Payload

__all__ = [
    "Acknowledgement",
    "Async",
    "Capability",
    "Connector",
    "Deferrable",
    "GenerationReader",
    "Key",
    "KeyT",
    "Leasable",
    "Lifetime",
    "Medium",
    "Notifier",
    "Ranged",
    "Replaceable",
    "Waitable",
    "capabilities_of",
]

# Any: keys are NamedTuples whose fields only their connector knows.
Key = tuple[Any, ...]
KeyT = TypeVar("KeyT", bound=Key)
_KeyT_contra = TypeVar("_KeyT_contra", bound=Key, contravariant=True)


class Capability(enum.Enum):
    """Something a connector can do beyond `Connector`."""

    DEFERRABLE = "deferrable"
    REPLACEABLE = "replaceable"
    WAITABLE = "waitable"
    LEASABLE = "leasable"
    RANGED = "ranged"
    ASYNC = "async"
    CROSS_PROCESS = "cross-process"
    """`from_config(config())` in another process of this host sees the same objects."""


class Medium(enum.Enum):
    """Where the bytes of a connector live, which decides how they are checked."""

    PROCESS = "process memory"
    SHARED_MEMORY = "shared memory"
    DISK = "disk"
    NETWORK = "network"


class Acknowledgement(enum.Enum):
    """What an object survives once `put` has returned."""

    MEMORY = "memory"
    """Nothing: it is in the memory of one process."""
    PROCESS = "process"
    """kill -9 of any process, the writer's included."""
    DISK = "disk"
    """Loss of power."""

    @property
    def survives(self) -> str:
        """The level as an answer to: what does an object survive?"""
        return _SURVIVED[self]


_SURVIVED = {
    Acknowledgement.MEMORY: "nothing",
    Acknowledgement.PROCESS: "kill -9 of any process",
    Acknowledgement.DISK: "loss of power",
}


@runtime_checkable
class Connector(Protocol[KeyT]):
    """Moves bytes to and from one medium.

    Objects are immutable. Every method is safe to call from several threads,
    and in a forked child, which makes its own connections. Waits end after the
    connector's default timeout with `ConnectorUnavailableError`.

    After `close`, every method but `close` raises `ClosedError`.
    """

    key_type: ClassVar[type]
    """The `NamedTuple` class of the keys; ``key_type(*tuple(key)) == key``."""

    secret_options: ClassVar[frozenset[str]] = frozenset()
    """Names of options that hold references to secrets; no part of a store's identity."""

    def put(self, payload: Payload) -> KeyT:
        """Store a copy of ``payload`` under a fresh key.

        Two equal payloads get two keys. An empty payload is an object too.

        Args:
            payload: Bytes-like or `Buffers`. Not read after return.

        Raises:
            ConnectorUnavailableError: The medium cannot be reached or is gone.
            MediumFullError: There is no room. Nothing was stored.
        """
        ...

    def get(self, key: KeyT) -> BytesLike | None:
        """The object's bytes, or `None` if there is no such object.

        The buffer stays valid and unchanged while it is referenced: across
        `evict`, `close`, recycling and fork. A writable buffer is the caller's
        private copy (copy-on-write where the medium can map).

        Raises:
            ConnectorUnavailableError: The medium cannot be reached or is gone.
            ObjectOnOtherHostError: The medium lives on another host.
        """
        ...

    def exists(self, key: KeyT) -> bool:
        """Whether `get` would find an object now. Moves no object bytes."""
        ...

    def evict(self, key: KeyT) -> None:
        """Remove the object. Evicting an absent key does nothing."""
        ...

    def put_batch(self, payloads: Sequence[Payload]) -> list[KeyT]:
        """Store each payload; keys come back in the same order.

        If it raises, objects of this batch may be stored whose keys nobody
        has; the connector removes those it can.
        """
        return [self.put(payload) for payload in payloads]

    def get_batch(self, keys: Sequence[KeyT]) -> list[BytesLike | None]:
        """One entry per key, in order, `None` where there is no object."""
        return [self.get(key) for key in keys]

    def config(self) -> dict[str, Any]:
        """Options from which `from_config` makes an equal connector elsewhere.

        Plain values only (str, int, float, bool, None, lists and dicts of
        them), secrets by reference. What it rebuilds never owns the medium.
        """
        ...

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A connector to the same medium as the one that gave ``config``."""
        ...

    def close(self, *, clear: bool | None = None) -> None:
        """Release what this connector holds. Idempotent.

        Args:
            clear: Remove every object too. The default clears only if this
                connector owns its medium (made it, in this process).

        Raises:
            NotOwnerError: ``clear=True`` on a connector that is not the owner.
        """
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this instance can do. Fixed for its life; a Store reads it once."""
        return capabilities_of(self)

    @property
    def medium(self) -> Medium:
        """Where the bytes live."""
        ...

    @property
    def acknowledges(self) -> Acknowledgement:
        """What an object survives once `put` has returned."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@runtime_checkable
class Deferrable(Protocol[KeyT]):
    """Keys can be made before their objects."""

    def new_key(self, object_id: str | None = None) -> KeyT:
        """A key that has no object yet.

        Args:
            object_id: 1 to 64 characters of ``[A-Za-z0-9_-]``; the same id gives
                an equal key in every process. `None` makes a fresh one.

        Raises:
            InvalidKeyError: ``object_id`` has other characters or length.
        """
        ...

    def set(self, key: KeyT, payload: Payload) -> None:
        """Create the object of ``key``, atomically and once.

        Raises:
            KeyAlreadySetError: The key has an object. It was not changed.
        """
        ...


@runtime_checkable
class Replaceable(Protocol[_KeyT_contra]):
    """Objects can be exchanged for new ones under the same key."""

    def replace(self, key: _KeyT_contra, payload: Payload) -> None:
        """Put a new generation in place of the object.

        Buffers of older generations stay valid and unchanged.

        Raises:
            KeyNotSetError: The key has no object to replace.
        """
        ...

    def generation(self, key: _KeyT_contra) -> int | None:
        """A number that differs after each `replace`; `None` without an object.

        Cheap, for caches compare it on each hit.
        """
        ...


@runtime_checkable
class GenerationReader(Protocol[_KeyT_contra]):
    """A Replaceable connector that reads an object and its generation in one request.

    No capability: a store asks any other connector for the two one after the other.
    """

    def get_with_generation(self, key: _KeyT_contra) -> tuple[BytesLike | None, int | None]:
        """As `Connector.get` and `Replaceable.generation`, which are of the same object.

        ``(None, None)`` if there is no object.
        """
        ...


@runtime_checkable
class Waitable(Protocol[_KeyT_contra]):
    """The medium tells when an object appears."""

    def wait(self, key: _KeyT_contra, timeout: float | None = None) -> bool:
        """Block until ``key`` has an object; `False` after ``timeout`` seconds."""
        ...


@runtime_checkable
class Notifier(Protocol[_KeyT_contra]):
    """A Waitable connector that makes calls, so that one thread can wait for thousands of keys.

    No capability: where there is none, whoever waits for many keys looks now and then.
    """

    def notify(self, key: _KeyT_contra, call: Callable[[], None]) -> Callable[[], None] | None:
        """Make ``call`` when ``key`` may have got an object, or the medium may be gone.

        It may be made several times, at once, and in vain, in a thread of the
        connector's, which it must not hold up. What was there before is not told.

        Returns:
            What ends it, and may be called again; `None` if this medium tells nothing.
        """
        ...


@runtime_checkable
class Leasable(Protocol[KeyT]):
    """Objects can have a time to live.

    `put`, `put_batch`, and `set` where there is one, take ``ttl`` as well.
    An expired object is absent.
    """

    def put(self, payload: Payload, *, ttl: float | None = None) -> KeyT:
        """As `Connector.put`; the object ends ``ttl`` seconds from now."""
        ...

    def touch(self, key: KeyT, ttl: float | None) -> bool:
        """Let the object end ``ttl`` seconds from now (`None`: never).

        Returns:
            `False` if there is no object (or it had expired).
        """
        ...


@runtime_checkable
class Ranged(Protocol[_KeyT_contra]):
    """Part of an object can be read."""

    def get_range(self, key: _KeyT_contra, offset: int, length: int) -> BytesLike | None:
        """At most ``length`` bytes from ``offset``, fewer where the object ends.

        `None` if there is no object.

        Raises:
            ValueError: ``offset`` or ``length`` is negative.
        """
        ...


@runtime_checkable
class Async(Protocol[KeyT]):
    """Native coroutines. A client belongs to the event loop that first used it."""

    async def aput(self, payload: Payload) -> KeyT:
        """As `Connector.put`."""
        ...

    async def aget(self, key: KeyT) -> BytesLike | None:
        """As `Connector.get`."""
        ...

    async def aexists(self, key: KeyT) -> bool:
        """As `Connector.exists`."""
        ...

    async def aevict(self, key: KeyT) -> None:
        """As `Connector.evict`."""
        ...


_PROTOCOLS: dict[Capability, type] = {
    Capability.DEFERRABLE: Deferrable,
    Capability.REPLACEABLE: Replaceable,
    Capability.WAITABLE: Waitable,
    Capability.LEASABLE: Leasable,
    Capability.RANGED: Ranged,
    Capability.ASYNC: Async,
}


def capabilities_of(connector: object) -> frozenset[Capability]:
    """The capabilities whose methods ``connector`` has, and `CROSS_PROCESS`.

    Costs some 30 us (protocol checks): read it once and keep it.
    """
    found = {cap for cap, protocol in _PROTOCOLS.items() if isinstance(connector, protocol)}
    return frozenset(found | {Capability.CROSS_PROCESS})


@runtime_checkable
class Lifetime(Protocol):
    """Something that ends, and evicts what was added to it when it does.

    Implementations are published by `proxystore_patterns`; stores accept any
    object of this shape as ``lifetime=``. Thread safe.
    """

    # Any: the store's own type, which the layers below it do not know.
    def add_key(self, *keys: Key, store: Any = None) -> None:
        """Evict ``keys`` from ``store`` when the lifetime ends."""
        ...

    # Any: proxies of any target.
    def add_proxy(self, *proxies: Any) -> None:
        """Evict what ``proxies`` refer to when the lifetime ends."""
        ...

    def close(self, *, close_stores: bool = False) -> None:
        """End now. Idempotent."""
        ...

    def done(self) -> bool:
        """Whether the lifetime has ended."""
        ...
