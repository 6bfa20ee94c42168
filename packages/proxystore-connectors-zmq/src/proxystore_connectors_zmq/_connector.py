"""The connector: puts keys and errors of the contract on what store processes do."""

from __future__ import annotations

import functools
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple, Self, TypeVar, cast

import zmq

from proxystore.abc import Acknowledgement, Capability, Connector, Medium, capabilities_of
from proxystore.connectors.keys import expected_key, fresh_id, is_id
from proxystore.connectors.options import check_range, checked_ttl
from proxystore.errors import (
    ClosedError,
    ConfigError,
    ConnectorUnavailableError,
    InvalidKeyError,
    KeyAlreadySetError,
    KeyNotSetError,
    MediumGoneError,
    NotOwnerError,
)
from proxystore.payload import BytesLike, Payload
from proxystore.secrets import generate_secret
from proxystore.serving import Place, let_go
from proxystore.serving.addresses import join_address, listening_address
from proxystore_connectors_zmq._address import DEFAULT_TIMEOUT, Address
from proxystore_connectors_zmq._client import END, Client
from proxystore_connectors_zmq._processes import Processes
from proxystore_connectors_zmq._reader import Found
from proxystore_connectors_zmq._wire import is_where

__all__ = ["ZMQConnector", "ZMQKey"]

T = TypeVar("T")

_LOOPBACK = "127.0.0.1"


class ZMQKey(NamedTuple):
    """Key of one object."""

    id: str
    """1 to 64 characters of ``[A-Za-z0-9_-]``."""
    where: str
    """The store process that has it, ``instance`` or ``instance@host:port``."""


_EXPECTED = (
    "a ZMQKey of 1 to 64 characters of A-Z, a-z, 0-9, '_' and '-', and of where put() stored it"
)
MethodT = TypeVar("MethodT", bound=Callable[..., Any])


def _while_open(method: MethodT) -> MethodT:
    """Raise `ClosedError` where the connector is closed, be it in the middle of the call."""

    # Any: the signature stays that of the method.
    @functools.wraps(method)
    def checked(self: ZMQConnector, *args: Any, **kwargs: Any) -> Any:
        self._require_open()
        try:
            return method(self, *args, **kwargs)
        except zmq.ContextTerminated:
            raise ClosedError(repr(self)) from None
        except ConnectorUnavailableError:
            self._require_open()
            raise

    return cast("MethodT", checked)


class ZMQConnector(Connector[ZMQKey]):
    """Keeps objects in the memory of a process of their own, one on each node that stores some.

    Who makes a namespace owns it, in that process. The store process of a node is
    started by the first object there; all end when the owner closes or dies, and their
    objects with them. Opening a namespace that exists on this node owns nothing.

    Processes of one node talk through a socket in a private directory, whatever
    address is given. With a ``port``, an ``address`` or an ``interface``, other nodes
    can reach the objects too, over a channel that is encrypted and open to holders of
    the secret alone. On their own node, they put objects in their own store process.

    Args:
        port: Where the owner's store process listens for other nodes; any that is
            free by default.
        address: Of this node, for others, or a name of it: one that they can use, and so
            not ``"0.0.0.0"``. The default is that of ``interface``, or with a ``port``
            alone that of this node to itself (127.0.0.1).
        interface: Network interface whose IPv4 address to use, such as ``"hsn0"``.
        namespace: 1 to 40 characters of ``[A-Za-z0-9_-]``. The default is named after
            the ``port``, or a fresh one.
        adopt: Own a namespace too that its owner left with ``close(clear=False)``.
        max_nbytes: Bytes that the objects of one node may have together, each with 512
            more; a quarter of its memory by default. A quarter of it again may be on its
            way to readers.
        secret: Reference to what opens the port. The default is a file of the user's
            own, which is made: `proxystore.secrets.generate_secret` with name ``zmq``.
        timeout: Seconds without a sign of the other side after which a call fails.

    Raises:
        ConfigError: An option has a wrong value, or is a secret and no reference.
        ConnectorUnavailableError: The store process cannot be started or listen there.
        SecretNotFoundError: The secret is not there, or empty.
        UnsafeDirectoryError: Somebody else made the directory of its socket.
    """

    key_type: ClassVar[type] = ZMQKey
    secret_options: ClassVar[frozenset[str]] = frozenset({"secret"})

    def __init__(
        self,
        port: int | None = None,
        address: str | None = None,
        interface: str | None = None,
        *,
        namespace: str | None = None,
        adopt: bool = False,
        max_nbytes: int | None = None,
        secret: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        if namespace is None:
            # 0 is any port that is free: nobody else has it, nor its namespace.
            namespace = f"port-{port}" if port else fresh_id()
        host = listening_address("zmq", address, interface)
        if host is None and port is not None:
            host = _LOOPBACK
        home = None if host is None else join_address(host, _checked_port(port))
        options = Address(namespace, None, None, secret, max_nbytes, timeout).checked()
        self._set_up(options._replace(home=home).completed())
        self._processes.place.own(adopt=adopt)
        if home is not None:
            self._listen()

    def _set_up(self, address: Address) -> None:
        self._processes = Processes(Place("zmq", address.namespace), address)
        self._closed = False
        self._capabilities = capabilities_of(self)

    def _listen(self) -> None:
        """Start the owner's store process at once, for its port belongs to the config."""
        try:
            if self._processes.address.secret is None:
                generate_secret("zmq")
            found = self._processes.start()
        except BaseException:
            let_go(self._processes.place, self._processes.release)
            raise
        self._processes.address = self._processes.address._replace(home=found.address)

    def __repr__(self) -> str:
        return f"<ZMQConnector {self.url}>"

    @property
    def url(self) -> str:
        """The canonical URL, from which `from_url` makes an equal connector elsewhere."""
        return self._processes.address.to_url()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """A connector to the namespace that ``url`` names, which it does not own.

        Connects to nothing: an absent namespace shows on first use.

        Raises:
            ConfigError: ``url`` is not ``zmq://[host:port]/namespace``, or has unknown options.
        """
        return cls._attached(Address.from_url(url))

    def config(self) -> dict[str, Any]:
        return self._processes.address.to_config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """As `Connector.from_config`. Connects to nothing.

        Raises:
            ConfigError: An option has an unknown name or a wrong value.
        """
        return cls._attached(Address.from_config(config))

    @classmethod
    def _attached(cls, address: Address) -> Self:
        made = cls.__new__(cls)
        made._set_up(address.completed())
        return made

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._capabilities

    @property
    def medium(self) -> Medium:
        """`NETWORK` where other nodes reach the objects; else the memory of one node."""
        return Medium.SHARED_MEMORY if self._processes.address.node else Medium.NETWORK

    @property
    def acknowledges(self) -> Acknowledgement:
        """`MEMORY`: objects survive their writer, but not the end of the store process."""
        return Acknowledgement.MEMORY

    @property
    def is_owner(self) -> bool:
        """Whether this connector owns its namespace, in this process."""
        return self._processes.place.is_owner

    # --- Objects --------------------------------------------------------------

    @_while_open
    def put(self, payload: Payload, *, ttl: float | None = None) -> ZMQKey:
        ttl, object_id = checked_ttl(ttl), fresh_id()

        def work(where: str, client: Client) -> ZMQKey:
            client.put(object_id, payload, ttl)
            return ZMQKey(object_id, where)

        return self._here(work)

    @_while_open
    def put_batch(self, payloads: Sequence[Payload], *, ttl: float | None = None) -> list[ZMQKey]:
        """As `Connector.put_batch`. If one fails, the others are removed."""
        ttl = checked_ttl(ttl)
        objects = [(fresh_id(), payload) for payload in payloads]

        def work(where: str, client: Client) -> list[ZMQKey]:
            try:
                client.put_batch(objects, ttl)
            except BaseException:
                with suppress(ConnectorUnavailableError):
                    for object_id, _ in objects:
                        client.evict(object_id)
                raise
            return [ZMQKey(object_id, where) for object_id, _ in objects]

        return self._here(work)

    @_while_open
    def get(self, key: ZMQKey) -> BytesLike | None:
        """As `Connector.get`: writable memory that is the caller's own."""
        return self._read(key).data

    @_while_open
    def get_with_generation(self, key: ZMQKey) -> tuple[BytesLike | None, int | None]:
        """As `GenerationReader.get_with_generation`."""
        return self._read(key)

    @_while_open
    def get_batch(self, keys: Sequence[ZMQKey]) -> list[BytesLike | None]:
        clients = [self._at(key) for key in keys]
        positions: dict[Client, list[int]] = defaultdict(list)
        for position, client in enumerate(clients):
            positions[client].append(position)
        found: list[BytesLike | None] = [None] * len(keys)
        for client, indices in positions.items():
            objects = client.get([keys[index].id for index in indices])
            for index, (data, _) in zip(indices, objects, strict=True):
                found[index] = data
        return found

    @_while_open
    def get_range(self, key: ZMQKey, offset: int, length: int) -> BytesLike | None:
        check_range(offset, length)
        return self._read(key, min(offset, END), min(length, END)).data

    @_while_open
    def exists(self, key: ZMQKey) -> bool:
        return self._at(key).generation(key.id) is not None

    @_while_open
    def evict(self, key: ZMQKey) -> None:
        """As `Connector.evict`. Where the store process has ended there is nothing to evict."""
        with suppress(MediumGoneError):
            self._at(key).evict(key.id)

    @_while_open
    def new_key(self, object_id: str | None = None) -> ZMQKey:
        """As `Deferrable.new_key`. Its object will be on the owner's node.

        In the store process that runs there now, which is started if there is none: if
        it dies, so does the key. Costs a look at a file, or a question to that node.
        """
        name = fresh_id() if object_id is None else object_id
        return _checked(ZMQKey(name, self._processes.home()))

    @_while_open
    def set(self, key: ZMQKey, payload: Payload, *, ttl: float | None = None) -> None:
        ttl = checked_ttl(ttl)
        if not self._at(key).set(key.id, payload, ttl):
            raise KeyAlreadySetError(repr(key))

    @_while_open
    def replace(self, key: ZMQKey, payload: Payload) -> None:
        """As `Replaceable.replace`. The object keeps its time to live."""
        if not self._at(key).replace(key.id, payload):
            raise KeyNotSetError(repr(key))

    @_while_open
    def generation(self, key: ZMQKey) -> int | None:
        return self._at(key).generation(key.id)

    @_while_open
    def wait(self, key: ZMQKey, timeout: float | None = None) -> bool:
        return self._at(key).wait(key.id, _checked_seconds(timeout))

    @_while_open
    def touch(self, key: ZMQKey, ttl: float | None) -> bool:
        return self._at(key).touch(key.id, checked_ttl(ttl))

    def close(self, *, clear: bool | None = None) -> None:
        """As `Connector.close`. The owner's ends the store processes, unless ``clear=False``.

        Then the one on this node goes on for as long as it has objects.
        """
        if self._closed:
            return
        if clear and not self.is_owner:
            raise NotOwnerError(repr(self))
        self._closed = True
        let_go(self._processes.place, self._processes.release, keep=clear is False)
        self._processes.close()

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError(repr(self))

    def _at(self, key: ZMQKey) -> Client:
        return self._processes.at(_checked(key).where)

    def _read(self, key: ZMQKey, *part: int) -> Found:
        return self._at(key).get([key.id], *part)[0]

    def _here(self, work: Callable[[str, Client], T]) -> T:
        """What ``work`` gives with the store process of this node; again if that has ended."""
        where, client = self._processes.here()
        try:
            return work(where, client)
        except MediumGoneError:
            if not self._processes.leave(where):
                raise
        return work(*self._processes.here())


# Any: what a caller passed as a key, which may be anything.
def _checked(key: Any) -> ZMQKey:
    """The key.

    Raises:
        InvalidKeyError: It could not have come from a `ZMQConnector`.
    """
    if not isinstance(key, ZMQKey):
        raise InvalidKeyError(repr(key), expected_key(ZMQKey))
    fields: tuple[Any, ...] = key
    object_id, where = fields
    texts = isinstance(object_id, str) and isinstance(where, str)
    # Before any use: '../x' as the name of a socket would leave the directory.
    if not (texts and is_id(object_id) and is_where(where)):
        raise InvalidKeyError(repr(key), _EXPECTED)
    return key


def _checked_seconds(timeout: float | None) -> float | None:
    """How long to wait, which threads can do for 292 years at most.

    Raises:
        TypeError: It is no number.
        ValueError: It is not a number.
    """
    if timeout is None:
        return None
    expected = f"timeout is a number of seconds, or None, not {timeout!r}."
    try:
        # Neither holds for a NaN.
        is_number = timeout >= 0 or timeout < 0
    except TypeError as error:
        raise TypeError(expected) from error
    if not is_number:
        raise ValueError(expected)
    return min(timeout, threading.TIMEOUT_MAX)


def _checked_port(port: int | None) -> int:
    if port is not None and (type(port) is not int or not 0 <= port < 1 << 16):
        found = "it is a number of 0 to 65535, or None"
        raise ConfigError(f"option port={port!r} of connector 'zmq'", found)
    return port or 0
