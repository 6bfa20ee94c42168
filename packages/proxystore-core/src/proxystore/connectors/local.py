"""`LocalConnector`: objects in the memory of this process."""

from __future__ import annotations

import base64
import itertools
import os
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

from proxystore.abc import Acknowledgement, Capability, Connector, Medium, capabilities_of
from proxystore.connectors.keys import checked_id, fresh_id
from proxystore.connectors.options import check_options, check_range, checked_ttl
from proxystore.errors import (
    ClosedError,
    ConnectorUnavailableError,
    KeyAlreadySetError,
    KeyNotSetError,
    NotOwnerError,
)
from proxystore.host.forks import remake_in_child
from proxystore.host.node import this_node
from proxystore.payload import BytesLike, Payload, as_bytes

__all__ = ["LocalConnector", "LocalKey"]


class LocalKey(NamedTuple):
    """Key of an object in a `LocalConnector`."""

    id: str
    """1 to 64 characters of ``[A-Za-z0-9_-]``."""


class _Shelf:
    """The objects of all connectors that came from one configuration.

    Reading takes no lock; whoever changes something holds `changed`, which can be
    taken again by its holder.
    """

    def __init__(self, objects: MutableMapping[LocalKey, bytes]) -> None:
        self.token = fresh_id()
        self.objects = objects
        self.expiries: dict[LocalKey, float] = {}
        self.generations: dict[LocalKey, int] = {}
        self.counter = itertools.count(1)
        self.calls: defaultdict[LocalKey, list[Callable[[], None]]] = defaultdict(list)
        """To make when a key is set."""
        self.changed = threading.Condition(threading.RLock())
        remake_in_child(self)

    def remade_in_child(self) -> None:
        self.changed = threading.Condition(threading.RLock())

    def find(self, key: LocalKey) -> bytes | None:
        expiry = self.expiries.get(key)
        if expiry is None or time.monotonic() < expiry:
            return self.objects.get(key)
        with self.changed:
            # Asked again under the lock: a touch or a replace may have come first.
            if self.expiries.get(key) == expiry:
                self.remove(key)
            return self.objects.get(key)

    def store(self, key: LocalKey, data: bytes, ttl: float | None) -> None:
        self.lease(key, ttl)
        self.generations[key] = next(self.counter)
        self.objects[key] = data
        self.changed.notify_all()

    def lease(self, key: LocalKey, ttl: float | None) -> None:
        if ttl is None:
            self.expiries.pop(key, None)
        else:
            self.expiries[key] = time.monotonic() + ttl

    def remove(self, key: LocalKey) -> None:
        self.objects.pop(key, None)
        self.expiries.pop(key, None)
        self.generations.pop(key, None)

    def clear(self) -> None:
        self.objects.clear()
        self.expiries.clear()
        self.generations.clear()


_shelves: weakref.WeakValueDictionary[str, _Shelf] = weakref.WeakValueDictionary()

_OPTIONS = ("include_data_in_config", "process", "shelf", "store_dict")


class LocalConnector(Connector[LocalKey]):
    """Keeps objects in the memory of this process.

    Has every capability but crossing processes, and is the reference for all
    of them. What `from_config` makes in the same process reaches the same
    objects; in another one it raises `ConnectorUnavailableError` on use. A
    forked child has its own copy of the objects from then on.

    `get` gives a read-only view of the one copy, in no time at any size.

    Args:
        store_dict: Where to keep the objects, by key. It stays the caller's:
            `close` does not clear it. The default is a new one, which the
            connector owns.
        include_data_in_config: Let `config` carry the objects themselves, so
            that what is made from it in another process begins with a copy.
    """

    key_type: ClassVar[type] = LocalKey
    # Not a secret, but no part of the identity either: it changes with each put.
    secret_options: ClassVar[frozenset[str]] = frozenset({"store_dict"})

    def __init__(
        self,
        store_dict: MutableMapping[LocalKey, bytes] | None = None,
        *,
        include_data_in_config: bool = False,
    ) -> None:
        shelf = _Shelf({} if store_dict is None else store_dict)
        _shelves[shelf.token] = shelf
        self._token = shelf.token
        self._shelf: _Shelf | None = shelf
        self._process = f"{os.getpid()} on host {this_node().host}"
        self._owns = store_dict is None
        self._include_data = include_data_in_config
        self._closed = False
        self._capabilities = capabilities_of(self) - {Capability.CROSS_PROCESS}

    def __repr__(self) -> str:
        return f"<LocalConnector {self._token} in process {self._process}>"

    def put(self, payload: Payload, *, ttl: float | None = None) -> LocalKey:
        shelf, key = self._open_shelf(), LocalKey(fresh_id())
        # bytes: a caller may reuse its buffer for the next object.
        data, ttl = as_bytes(payload), checked_ttl(ttl)
        with shelf.changed:
            shelf.store(key, data, ttl)
        return key

    def put_batch(self, payloads: Sequence[Payload], *, ttl: float | None = None) -> list[LocalKey]:
        return [self.put(payload, ttl=ttl) for payload in payloads]

    def get(self, key: LocalKey) -> BytesLike | None:
        data = self._find(key)
        return None if data is None else memoryview(data)

    def get_range(self, key: LocalKey, offset: int, length: int) -> BytesLike | None:
        check_range(offset, length)
        data = self._find(key)
        return None if data is None else memoryview(data)[offset : offset + length]

    def exists(self, key: LocalKey) -> bool:
        return self._find(key) is not None

    def evict(self, key: LocalKey) -> None:
        shelf = self._open_shelf()
        checked_id(key, LocalKey)
        with shelf.changed:
            shelf.remove(key)

    def new_key(self, object_id: str | None = None) -> LocalKey:
        self._open_shelf()
        key = LocalKey(fresh_id() if object_id is None else object_id)
        checked_id(key, LocalKey)
        return key

    def set(self, key: LocalKey, payload: Payload, *, ttl: float | None = None) -> None:
        shelf = self._open_shelf()
        checked_id(key, LocalKey)
        data, ttl = as_bytes(payload), checked_ttl(ttl)
        with shelf.changed:
            if shelf.find(key) is not None:
                raise KeyAlreadySetError(repr(key))
            shelf.store(key, data, ttl)
            calls = tuple(shelf.calls.get(key, ()))
        for call in calls:
            call()

    def replace(self, key: LocalKey, payload: Payload) -> None:
        """As `Replaceable.replace`. The object keeps its time to live."""
        shelf = self._open_shelf()
        checked_id(key, LocalKey)
        data = as_bytes(payload)
        with shelf.changed:
            if shelf.find(key) is None:
                raise KeyNotSetError(repr(key))
            shelf.objects[key] = data
            shelf.generations[key] = next(shelf.counter)

    def generation(self, key: LocalKey) -> int | None:
        if self._find(key) is None:
            return None
        return self._open_shelf().generations.get(key, 0)

    def get_with_generation(self, key: LocalKey) -> tuple[BytesLike | None, int | None]:
        shelf = self._open_shelf()
        checked_id(key, LocalKey)
        with shelf.changed:
            data = shelf.find(key)
            if data is None:
                return None, None
            return memoryview(data), shelf.generations.get(key, 0)

    def wait(self, key: LocalKey, timeout: float | None = None) -> bool:
        shelf = self._open_shelf()
        checked_id(key, LocalKey)
        with shelf.changed:
            # Closing ends every wait: nobody could end it otherwise.
            shelf.changed.wait_for(lambda: self._closed or shelf.find(key) is not None, timeout)
            return self._find(key) is not None

    def notify(self, key: LocalKey, call: Callable[[], None]) -> Callable[[], None]:
        """As `Notifier.notify`. Made in the thread that sets the key, or closes."""
        shelf = self._open_shelf()
        checked_id(key, LocalKey)
        with shelf.changed:
            shelf.calls[key].append(call)

        def leave() -> None:
            with shelf.changed:
                calls = shelf.calls.get(key, [])
                if call in calls:
                    calls.remove(call)
                if not calls:
                    shelf.calls.pop(key, None)

        return leave

    def touch(self, key: LocalKey, ttl: float | None) -> bool:
        shelf = self._open_shelf()
        checked_id(key, LocalKey)
        ttl = checked_ttl(ttl)
        with shelf.changed:
            if shelf.find(key) is None:
                return False
            shelf.lease(key, ttl)
        return True

    def config(self) -> dict[str, Any]:
        """As `Connector.config`: a token that means something in this process only."""
        config: dict[str, Any] = {"shelf": self._token, "process": self._process}
        if self._include_data:
            objects = self._open_shelf().objects
            config["include_data_in_config"] = True
            config["store_dict"] = {
                key.id: base64.b64encode(data).decode("ascii")
                for key, data in list(objects.items())
            }
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """As `Connector.from_config`. An empty config makes a new connector.

        Raises:
            ConfigError: An option has a name that is not known.
        """
        check_options("local", config, _OPTIONS)
        objects = {
            LocalKey(object_id): base64.b64decode(data)
            for object_id, data in config.get("store_dict", {}).items()
        }
        include_data = bool(config.get("include_data_in_config"))
        made = cls(objects or None, include_data_in_config=include_data)
        if "shelf" in config:
            made._attach(config)
        return made

    def _attach(self, config: Mapping[str, Any]) -> None:
        self._token, self._process = config["shelf"], config.get("process", "unknown")
        self._owns = False
        shelf = _shelves.get(self._token)
        if shelf is not None or not self._include_data:
            self._shelf = shelf

    def close(self, *, clear: bool | None = None) -> None:
        if self._closed:
            return
        if clear and not self._owns:
            raise NotOwnerError(repr(self))
        self._closed = True
        shelf, self._shelf = self._shelf, None
        if shelf is None:
            return
        with shelf.changed:
            if self._owns and clear is not False:
                shelf.clear()
            shelf.changed.notify_all()
            calls = [call for some in shelf.calls.values() for call in some]
        for call in calls:
            call()

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._capabilities

    @property
    def medium(self) -> Medium:
        return Medium.PROCESS

    @property
    def acknowledges(self) -> Acknowledgement:
        return Acknowledgement.MEMORY

    def _open_shelf(self) -> _Shelf:
        shelf = self._shelf
        if shelf is not None:
            return shelf
        if self._closed:
            raise ClosedError(repr(self))
        raise ConnectorUnavailableError(
            f"LocalConnector {self._token}",
            f"its objects live in the memory of process {self._process}, and this is "
            f"process {os.getpid()} on host {this_node().host}, or it was closed there",
            "Use a FileConnector, or redis, for objects that other processes read.",
        )

    def _find(self, key: LocalKey) -> bytes | None:
        shelf = self._open_shelf()
        checked_id(key, LocalKey)
        return shelf.find(key)
