"""`UCXConnector`: objects in the memory of each node, moved with UCX."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Self

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
from proxystore.serving.addresses import join_address, listening_address, split_address
from proxystore_connectors_ucx._channel import ChannelError, NoWayError, check_installed, check_way
from proxystore_connectors_ucx._client import Connection
from proxystore_connectors_ucx._device import DeviceArray, DeviceMemory, Piece
from proxystore_connectors_ucx._key import UCXKey, checked
from proxystore_connectors_ucx._memory import pieces_of
from proxystore_connectors_ucx._network import LOOPBACK
from proxystore_connectors_ucx._options import TIMEOUT_S, Options
from proxystore_connectors_ucx._route import Route, Side
from proxystore_connectors_ucx._stores import Stores
from proxystore_connectors_ucx._wire import INLINE_NBYTES, WHOLE, Code, Frame

__all__ = ["UCXConnector"]

_PAUSE_S = 0.01
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
        address: IPv4 address of this node on which to accept them.
        interface: Network interface on which to accept them, here and on other nodes.
        namespace: 1 to 40 characters of ``[A-Za-z0-9_-]``. The default is a fresh one.
        max_nbytes: Bytes of objects that each node may hold. The default is a
            quarter of its memory.
        timeout: Seconds to wait for an answer, or for an object on its way to move on.
        secret: Reference of the secret that all nodes hold. The default is
            ``secrets/ucx`` in the directory of this user, made if it is not there.
        transports: What UCX may use between nodes, as in ``UCX_TLS``.
        devices: Which devices it may use, as in ``UCX_NET_DEVICES``. The default is the
            interface that has the address; name others for InfiniBand.
        adopt: Own a namespace that its owner left with ``close(clear=False)``.

    Raises:
        ConfigError: An option has an impossible value, or names what this node has not.
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
        listen = _listening(port, address, interface)
        if listen is not None and secret is None:
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
        if listen is not None:
            self._serve_others(listen)

    def _attach(self, options: Options) -> None:
        check_installed()
        self._closed = False
        self._place = Place("ucx", options.namespace)
        self._stores = Stores(options, self._place)

    def _serve_others(self, listen: str) -> None:
        try:
            _check_ways(self._stores.options, listen)
            announced = self._stores.start(listen)
        except BaseException:
            self.close()
            raise
        # Known only now, for the system chooses a free port.
        self._stores.options = self._stores.options.at(announced.address)

    def __repr__(self) -> str:
        return f"<UCXConnector {self._stores.options.namespace}>"

    # --- Objects --------------------------------------------------------------

    def put(self, payload: Payload | DeviceArray, *, ttl: float | None = None) -> UCXKey:
        """As `Leasable.put`; the object may be in the memory of a GPU too."""
        self._check_open()
        question = Frame(Code.SET, fresh_id(), seconds=_seconds(ttl))
        pieces = pieces_of(payload)
        deadline = time.monotonic() + self._stores.options.timeout
        while True:
            key = UCXKey(question.object_id, self._stores.here())
            try:
                self._write(key, question, pieces, fresh=True)
            except MediumGoneError:
                # It died: the next one takes the object, once the system knows.
                if time.monotonic() > deadline:
                    raise
            else:
                return key
            time.sleep(_PAUSE_S)

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
        """As `Connector.evict`. Where the store process has ended there is nothing to evict."""
        with suppress(MediumGoneError):
            self._ask(key, Code.EVICT)

    # --- Capabilities ---------------------------------------------------------

    def new_key(self, object_id: str | None = None) -> UCXKey:
        """As `Deferrable.new_key`. Its object will live on the node of the owner.

        It is in the store process that runs there now, which is started if there is none.
        Costs a look at two files, or a question to that node.

        Raises:
            MediumGoneError: The owner is gone.
            ObjectOnOtherHostError: Its node cannot be reached from this one.
            ConnectorUnavailableError: The process does not start, or does not answer.
        """
        self._check_open()
        return checked(UCXKey(fresh_id() if object_id is None else object_id, self._stores.home()))

    def set(self, key: UCXKey, payload: Payload | DeviceArray, *, ttl: float | None = None) -> None:
        self._check_open()
        object_id = checked(key).object_id
        self._write(key, Frame(Code.SET, object_id, seconds=_seconds(ttl)), pieces_of(payload))

    def replace(self, key: UCXKey, payload: Payload | DeviceArray) -> None:
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
        question = Frame(Code.WAIT, checked(key).object_id, seconds=_waiting(timeout))
        answer = self._stores.at(key.where).ask(lambda connection: connection.wait(question))
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
        if clear and not self._place.is_owner:
            raise NotOwnerError(repr(self))
        self._closed = True
        self._stores.close()
        self._stores.let_go(keep=clear is False)

    # --- Asking ---------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(repr(self))

    def _ask(self, key: UCXKey, code: Code, seconds: float = math.inf) -> Frame:
        self._check_open()
        question = Frame(code, checked(key).object_id, seconds=seconds)
        client = self._stores.at(key.where)
        return client.ask(lambda connection: connection.ask(question), repeatable=True)

    def _read(self, key: UCXKey, offset: int, length: int) -> tuple[BytesLike | None, int | None]:
        self._check_open()
        question = Frame(Code.GET, checked(key).object_id, length, offset)
        client = self._stores.at(key.where)
        answer = client.ask(lambda connection: connection.read(question), repeatable=True)
        return (answer.body, answer.number) if answer.code is Code.DONE else (None, None)

    def _write(
        self,
        key: UCXKey,
        question: Frame,
        pieces: Sequence[Piece],
        *,
        fresh: bool = False,
    ) -> None:
        nbytes = sum(map(len, pieces))
        question = question._replace(nbytes=nbytes)
        in_host = [piece for piece in pieces if not isinstance(piece, DeviceMemory)]
        from_device = len(in_host) < len(pieces)

        def ask(connection: Connection) -> Frame:
            if from_device or nbytes > INLINE_NBYTES:
                return connection.write(question, pieces)
            return connection.ask(question, in_host)

        client = self._stores.at(key.where, from_device=from_device)
        # A fresh key can be set again: nobody else knows it, so what is there already is this
        # very object.
        answer = client.ask(ask, repeatable=fresh)
        if answer.code is Code.ALREADY_SET and not fresh:
            raise KeyAlreadySetError(repr(key))
        if answer.code is Code.NOT_SET:
            raise KeyNotSetError(repr(key))
        if answer.code is Code.FULL:
            raise MediumFullError(repr(self), nbytes, bytes(answer.body).decode())


def _seconds(ttl: float | None) -> float:
    seconds = checked_ttl(ttl)
    return math.inf if seconds is None else seconds


def _waiting(timeout: float | None) -> float:
    expected = f"timeout is a number of seconds, or None, not {timeout!r}."
    try:
        is_number = timeout is None or not math.isnan(timeout)
    except TypeError as exc:
        raise TypeError(expected) from exc
    if not is_number:
        raise ValueError(expected)
    return math.inf if timeout is None else max(0.0, timeout)


def _check_ways(options: Options, listen: str) -> None:
    """Return unless there is nothing on this node of what UCX is told to use between nodes."""
    # Else there is nothing to mistake, and UCX takes half a second to load.
    if options.transports or options.devices:
        network = options.network(split_address(listen)[0])
        try:
            check_way(Route(Side.CLIENT, network))
        except NoWayError as exc:
            found = (
                f"this node has nothing of that ({exc.__cause__}); UCX names what it has with "
                f"UCX_LOG_LEVEL=warn in the environment"
            )
            raise ConfigError(f"{network} of connector 'ucx'", found) from exc
        except ChannelError as exc:
            raise ConnectorUnavailableError("UCX", str(exc), "Try again.") from exc


def _listening(port: int | None, address: str | None, interface: str | None) -> str | None:
    """``host:port`` to listen on for other nodes, if any of these is given."""
    if port is not None and (type(port) is not int or not 0 <= port < 1 << 16):
        asked = f"option port={port!r} of connector 'ucx'"
        raise ConfigError(asked, "it is a number of 0 to 65535, or None")
    host = listening_address("ucx", address, interface)
    if host is not None and ":" in host:
        # UCX is held to the interface that has it, and finds that by IPv4 alone.
        asked = f"option address={address!r} of connector 'ucx'"
        raise ConfigError(asked, "it takes an address of IPv4")
    if host is None and port is None:
        return None
    return join_address(host or LOOPBACK, port or 0)
