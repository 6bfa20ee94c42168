"""`UCXConnector`: objects in the memory of each node, moved with UCX."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Self, TypeVar

from proxystore.abc import Acknowledgement, Capability, Connector, Medium
from proxystore.connectors.batches import put_each
from proxystore.connectors.keys import fresh_id
from proxystore.connectors.options import check_range, checked_ttl
from proxystore.errors import (
    ClosedError,
    ConfigError,
    ConnectorUnavailableError,
    KeyAlreadySetError,
    KeyNotSetError,
    MediumFullError,
    MediumGoneError,
    NotOwnerError,
)
from proxystore.host.node import this_node
from proxystore.payload import BytesLike, Payload
from proxystore.secrets import generate_secret
from proxystore.serving import Place
from proxystore_connectors_ucx._channel import check_installed
from proxystore_connectors_ucx._client import Connection
from proxystore_connectors_ucx._key import HOME, UCXKey, checked
from proxystore_connectors_ucx._memory import pieces_of
from proxystore_connectors_ucx._network import LOOPBACK, interface_address
from proxystore_connectors_ucx._options import TIMEOUT_S, Options
from proxystore_connectors_ucx._stores import Stores
from proxystore_connectors_ucx._wire import INLINE_NBYTES, WHOLE, Code, Frame

__all__ = ["UCXConnector"]

AnswerT = TypeVar("AnswerT")

_CAPABILITIES = frozenset({
    Capability.CROSS_PROCESS,
    Capability.DEFERRABLE,
    Capability.LEASABLE,
    Capability.RANGED,
    Capability.REPLACEABLE,
    Capability.WAITABLE,
})


class UCXConnector(Connector[UCXKey]):
    """Keeps objects in the memory of a process on each node, and moves them with UCX.

    The connector that makes a namespace owns it, and clears it on `close`. Its
    process is started by the first use, and ends when the owner closes or dies.
    Another connector of the same namespace owns nothing.

    Within a node objects are copied once, by the process that puts or gets them,
    through shared memory. With ``port``, ``address`` or ``interface`` the processes of
    other nodes take part: each node that puts keeps its own objects, and nodes prove
    to each other that they hold the same secret. UCX itself neither encrypts nor
    authenticates: use it in a network whose hosts you trust.

    Args:
        port: TCP port for connections from other nodes; `None` takes a free one.
        address: Address of this node on which to accept them.
        interface: Network interface on which to accept them, here and on other nodes.
        namespace: 1 to 40 characters of ``[A-Za-z0-9_-]``. The default is a fresh one.
        max_nbytes: Bytes of objects that each node may hold. The default is a
            quarter of its memory.
        timeout: Seconds to wait for an answer, and one more for each 10 MB of an object.
        secret: Reference of the secret that all nodes hold. The default is
            ``secrets/ucx`` in the directory of this user, made if it is not there.
        transports: What UCX may use between nodes, as in ``UCX_TLS``.
        devices: Which devices it may use, as in ``UCX_NET_DEVICES``. The default is the
            interface that has the address; name others for InfiniBand.
        adopt: Own a namespace that its owner left with ``close(clear=False)``.

    Raises:
        ConfigError: An option has an impossible value.
        ConnectorUnavailableError: UCX is not installed, or the process does not start.
    """

    key_type: ClassVar[type] = UCXKey
    secret_options: ClassVar[frozenset[str]] = frozenset({"secret"})

    def __init__(
        self,
        port: int | None = None,
        address: str | None = None,
        interface: str | None = None,
        *,
        namespace: str | None = None,
        max_nbytes: int | None = None,
        timeout: float = TIMEOUT_S,
        secret: str | None = None,
        transports: str | None = None,
        devices: str | None = None,
        adopt: bool = False,
    ) -> None:
        listens = not (port is None and address is None and interface is None)
        if listens and secret is None:
            secret = generate_secret("ucx")
        options = Options(
            namespace=fresh_id() if namespace is None else namespace,
            node=str(this_node()),
            interface=interface,
            secret=secret,
            transports=transports,
            devices=devices,
            max_nbytes=max_nbytes,
            timeout=timeout,
        )
        self._attach(options)
        self._place.own(adopt=adopt, timeout=timeout)
        if listens:
            self._serve_others(_host(address, interface), port or 0)

    def _attach(self, options: Options) -> None:
        check_installed()
        self._closed = False
        self._place = Place("ucx", options.namespace)
        self._stores = Stores(options, self._place)

    def _serve_others(self, host: str, port: int) -> None:
        try:
            announced = self._stores.start(f"{host}:{port}")
        except ConnectorUnavailableError:
            self.close()
            raise
        # Known only now, for the system chooses a free port.
        self._stores.options = self._stores.options.at(announced.address)

    def __repr__(self) -> str:
        return f"<UCXConnector {self._stores.options.namespace}>"

    # --- Objects --------------------------------------------------------------

    def put(self, payload: Payload, *, ttl: float | None = None) -> UCXKey:
        self._check_open()
        question = Frame(Code.SET, fresh_id(), seconds=_seconds(ttl))
        pieces = pieces_of(payload)
        at = self._started(lambda: self._stores.here()[0])
        key = UCXKey(question.object_id, at)
        self._write(key, question, pieces, fresh=True)
        return key

    def put_batch(self, payloads: Sequence[Payload], *, ttl: float | None = None) -> list[UCXKey]:
        """As `Connector.put_batch`; all are stored or none."""
        self._check_open()
        return put_each(payloads, partial(self.put, ttl=ttl), self.evict)

    def get(self, key: UCXKey) -> BytesLike | None:
        return self.get_with_generation(key)[0]

    def get_with_generation(self, key: UCXKey) -> tuple[BytesLike | None, int | None]:
        return self._read(key, 0, WHOLE)

    def get_range(self, key: UCXKey, offset: int, length: int) -> BytesLike | None:
        check_range(offset, length)
        return self._read(key, min(offset, WHOLE), min(length, WHOLE - 1))[0]

    def get_batch(self, keys: Sequence[UCXKey]) -> list[BytesLike | None]:
        self._check_open()
        return [self.get(key) for key in keys]

    def exists(self, key: UCXKey) -> bool:
        return self._ask(key, Code.FIND).code is Code.DONE

    def evict(self, key: UCXKey) -> None:
        self._ask(key, Code.EVICT)

    # --- Capabilities ---------------------------------------------------------

    def new_key(self, object_id: str | None = None) -> UCXKey:
        """As `Deferrable.new_key`. Its object will live on the node of the owner."""
        self._check_open()
        return checked(UCXKey(fresh_id() if object_id is None else object_id, HOME))

    def set(self, key: UCXKey, payload: Payload, *, ttl: float | None = None) -> None:
        self._check_open()
        object_id = checked(key).object_id
        self._write(key, Frame(Code.SET, object_id, seconds=_seconds(ttl)), pieces_of(payload))

    def replace(self, key: UCXKey, payload: Payload) -> None:
        """As `Replaceable.replace`. The object keeps its time to live."""
        self._check_open()
        self._write(key, Frame(Code.REPLACE, checked(key).object_id), pieces_of(payload))

    def generation(self, key: UCXKey) -> int | None:
        answer = self._ask(key, Code.FIND)
        return answer.number if answer.code is Code.DONE else None

    def touch(self, key: UCXKey, ttl: float | None) -> bool:
        return self._ask(key, Code.TOUCH, _seconds(ttl)).code is Code.DONE

    def wait(self, key: UCXKey, timeout: float | None = None) -> bool:
        """As `Waitable.wait`. Each wait has a connection of its own."""
        self._check_open()
        seconds = math.inf if timeout is None else timeout
        question = Frame(Code.WAIT, checked(key).object_id, seconds=seconds)
        answer = self._stores.at(key.at).ask(lambda connection: connection.wait(question))
        return answer.code is Code.DONE

    # --- The medium -----------------------------------------------------------

    @property
    def capabilities(self) -> frozenset[Capability]:
        return _CAPABILITIES

    @property
    def medium(self) -> Medium:
        """Shared memory if all is on one node, else the network, where contents are checked."""
        return Medium.SHARED_MEMORY if self._stores.options.address is None else Medium.NETWORK

    @property
    def acknowledges(self) -> Acknowledgement:
        return Acknowledgement.MEMORY

    @property
    def url(self) -> str:
        """``ucx://[host:port]/namespace``; `from_url` makes an equal connector of it."""
        return self._stores.options.to_url()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """A connector to the namespace that ``url`` names. Never owns it.

        Raises:
            ConfigError: It has another form, or an option of it is wrong.
        """
        return cls._of(Options.from_url(url))

    def config(self) -> dict[str, Any]:
        return self._stores.options.to_config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls._of(Options.from_config(config))

    @classmethod
    def _of(cls, options: Options) -> Self:
        connector = cls.__new__(cls)
        connector._attach(options)
        return connector

    def close(self, *, clear: bool | None = None) -> None:
        if self._closed:
            return
        owns = self._place.is_owner
        if clear and not owns:
            raise NotOwnerError(repr(self))
        self._closed = True
        self._stores.close()
        if owns:
            self._place.disown(keep=clear is False)
            if clear is not False:
                self._stores.end_here()

    # --- Asking ---------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(repr(self))

    def _ask(self, key: UCXKey, code: Code, seconds: float = math.inf) -> Frame:
        self._check_open()
        question = Frame(code, checked(key).object_id, seconds=seconds)
        client = self._stores.at(key.at)
        return client.ask(lambda connection: connection.ask(question), repeatable=True)

    def _read(self, key: UCXKey, offset: int, length: int) -> tuple[BytesLike | None, int | None]:
        self._check_open()
        question = Frame(Code.GET, checked(key).object_id, length, offset)
        client = self._stores.at(key.at)
        answer = client.ask(lambda connection: connection.read(question), repeatable=True)
        return (answer.body, answer.number) if answer.code is Code.DONE else (None, None)

    def _write(
        self, key: UCXKey, question: Frame, pieces: Sequence[BytesLike], *, fresh: bool = False
    ) -> None:
        nbytes = sum(map(len, pieces))
        question = question._replace(nbytes=nbytes)

        def ask(connection: Connection) -> Frame:
            if nbytes > INLINE_NBYTES:
                return connection.write(question, pieces)
            return connection.ask(question, pieces)

        client = self._stores.at(key.at)
        # A fresh key can be set again: nobody else knows it, so what is there already is this
        # very object.
        answer = self._started(lambda: client.ask(ask, repeatable=fresh))
        if answer.code is Code.ALREADY_SET and not fresh:
            raise KeyAlreadySetError(repr(key))
        if answer.code is Code.NOT_SET:
            raise KeyNotSetError(repr(key))
        if answer.code is Code.FULL:
            raise MediumFullError(repr(self), nbytes, bytes(answer.body).decode())

    def _started(self, call: Callable[[], AnswerT]) -> AnswerT:
        """What ``call`` gives, once more with a new store process if that of this node is dead."""
        try:
            return call()
        except MediumGoneError:
            self._stores.start()
            return call()


def _seconds(ttl: float | None) -> float:
    seconds = checked_ttl(ttl)
    return math.inf if seconds is None else seconds


def _host(address: str | None, interface: str | None) -> str:
    if address is None:
        return LOOPBACK if interface is None else interface_address(interface)
    if address in {"", "0.0.0.0", "::"}:  # noqa: S104 - to refuse it
        asked = f"option address={address!r} of connector 'ucx'"
        raise ConfigError(asked, "it takes the one address at which other nodes reach this one")
    return f"[{address}]" if ":" in address else address
