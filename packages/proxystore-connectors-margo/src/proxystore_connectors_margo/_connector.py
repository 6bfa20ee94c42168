"""`MargoConnector`: objects in store processes, moved by Margo's bulk transfers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self

from proxystore.abc import Acknowledgement, Capability, Connector, Medium
from proxystore.connectors.batches import put_each
from proxystore.connectors.keys import expected_key, fresh_id, is_id
from proxystore.connectors.options import check_range, checked_ttl
from proxystore.errors import (
    ClosedError,
    InvalidKeyError,
    KeyAlreadySetError,
    KeyNotSetError,
    MediumGoneError,
    NotOwnerError,
)
from proxystore.host.node import this_node
from proxystore.payload import BytesLike, Payload, payload_nbytes
from proxystore.serving import Announcement, let_go
from proxystore_connectors_margo._client import Answer, Client
from proxystore_connectors_margo._library import Library
from proxystore_connectors_margo._memory import allocated, exposable
from proxystore_connectors_margo._messages import Op, Word
from proxystore_connectors_margo._options import DEFAULT_TIMEOUT, Options, is_address
from proxystore_connectors_margo._processes import Processes
from proxystore_connectors_margo._protocol import Protocol

__all__ = ["MargoConnector", "MargoKey"]

_EXPECTED_ID = "1 to 64 characters of A-Z, a-z, 0-9, '_' and '-', and an address"
# After which a wait is asked again, so that a dead store process is noticed.
_WAIT_SECONDS = 2.0
_CAPABILITIES = frozenset({
    Capability.CROSS_PROCESS,
    Capability.DEFERRABLE,
    Capability.LEASABLE,
    Capability.RANGED,
    Capability.REPLACEABLE,
    Capability.WAITABLE,
})


class MargoKey(NamedTuple):
    """Key of an object in a `MargoConnector`."""

    id: str
    """1 to 64 characters of ``[A-Za-z0-9_-]``."""
    address: str
    """Of the store process that keeps it."""
    nbytes: int | None = None
    """Its size when it was put, which saves asking; `None` where the key came first."""


class MargoConnector(Connector[MargoKey]):
    """Keeps objects in memory of store processes, one per node, moved by Mercury.

    An object stays on the node where it was put, in a process of ours that is started
    when it is first needed; whoever has the key reads it from there, straight into
    memory of its own. Bytes move by bulk transfers (RDMA where the fabric has it).

    Whoever makes the namespace owns it, and its `close` ends the store processes of all
    nodes, and their objects with them. So does its death. A connector to an existing
    namespace, as `from_config` makes, owns nothing.

    mochi unpickles what an engine receives, so whoever can reach a store process can
    run code in it. The default protocol lets in processes of this user on this node
    alone. Use another one only on a network where you trust everybody.

    Args:
        port: That store processes listen on; `None` is any. Not used for shared memory.
        protocol: How the bytes travel.
        address: Of this node, to listen on; `None` is loopback. Other nodes then put
            their objects here.
        interface: Name of a network interface to listen on, in place of ``address``:
            the same on all nodes, so that each keeps its own objects.
        timeout: Seconds until a call must have been answered; large objects get a
            second more for each 10 MB.
        namespace: 1 to 40 characters of ``[A-Za-z0-9_-]``; `None` makes a new one.
        max_nbytes: What each store process keeps at most. The default is a quarter of
            the memory of its node.
        clear: Whether the owner's `close` ends the store processes. Otherwise they live
            until they have no objects.
        adopt: Own a namespace that its owner left with ``clear=False``.

    Raises:
        ConfigError: An option cannot have that value.
        ConnectorUnavailableError: mochi.margo is not installed.
    """

    key_type: ClassVar[type] = MargoKey
    _clears = False
    _closed = False

    def __init__(
        self,
        port: int | None = None,
        protocol: Protocol | str = Protocol.SM_SHM,
        address: str | None = None,
        interface: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        *,
        namespace: str | None = None,
        max_nbytes: int | None = None,
        clear: bool = True,
        adopt: bool = False,
    ) -> None:
        options = Options(
            namespace=fresh_id() if namespace is None else namespace,
            node=this_node(),
            protocol=Protocol.named(protocol),
            address=address,
            interface=interface,
            port=port,
            timeout=timeout,
            max_nbytes=max_nbytes,
        )
        self._set_up(options.checked())
        Library.load(repr(self))
        self._processes.place.own(adopt=adopt)
        self._clears = clear

    def _set_up(self, options: Options) -> None:
        self._options = options
        self._processes = Processes(options)
        self._client = Client(
            options.protocol.calling(options.host),
            f"margo://{options.namespace}",
            options.timeout,
            self._processes.has_ended,
        )

    def __repr__(self) -> str:
        return f"<MargoConnector {self._options.namespace} over {self._options.protocol.value}>"

    # --- Objects --------------------------------------------------------------

    def put(self, payload: Payload, *, ttl: float | None = None) -> MargoKey:
        self._check_open()
        ttl = checked_ttl(ttl)
        address = self._processes.local()
        try:
            return self._put(address, payload, ttl)
        except MediumGoneError:
            # It was killed. Another one is started; what it may have stored went with it.
            return self._put(self._processes.local(), payload, ttl)

    def put_batch(self, payloads: Sequence[Payload], *, ttl: float | None = None) -> list[MargoKey]:
        """As `Connector.put_batch`. If one fails, those before it are removed."""
        return put_each(payloads, partial(self.put, ttl=ttl), self.evict)

    def get(self, key: MargoKey) -> BytesLike | None:
        """As `Connector.get`: writable memory that is the caller's own."""
        return self._read(key, 0, None)[0]

    def get_with_generation(self, key: MargoKey) -> tuple[BytesLike | None, int | None]:
        return self._read(key, 0, None)

    def get_range(self, key: MargoKey, offset: int, length: int) -> BytesLike | None:
        check_range(offset, length)
        return self._read(key, offset, length)[0]

    def exists(self, key: MargoKey) -> bool:
        return self._stat(key) is not None

    def evict(self, key: MargoKey) -> None:
        """As `Connector.evict`. In a store process that is gone there is nothing to evict."""
        with contextlib.suppress(MediumGoneError):
            self._ask(key, Op.EVICT)

    def new_key(self, object_id: str | None = None) -> MargoKey:
        """As `Deferrable.new_key`. The object will be on the owner's node."""
        self._check_open()
        name = fresh_id() if object_id is None else object_id
        return _checked(MargoKey(name, self._processes.home()))

    def set(self, key: MargoKey, payload: Payload, *, ttl: float | None = None) -> None:
        buffers = list(exposable(payload))
        answer = self._ask(key, Op.SET, checked_ttl(ttl), buffers=buffers)
        if answer[0] is Word.SET_ALREADY:
            raise KeyAlreadySetError(repr(key))

    def replace(self, key: MargoKey, payload: Payload) -> None:
        """As `Replaceable.replace`. The object keeps its time to live."""
        answer = self._ask(key, Op.REPLACE, buffers=list(exposable(payload)))
        if answer[0] is Word.ABSENT:
            raise KeyNotSetError(repr(key))

    def generation(self, key: MargoKey) -> int | None:
        found = self._stat(key)
        return None if found is None else found[1]

    def touch(self, key: MargoKey, ttl: float | None) -> bool:
        return self._ask(key, Op.TOUCH, checked_ttl(ttl))[0] is Word.OK

    def wait(self, key: MargoKey, timeout: float | None = None) -> bool:
        """As `Waitable.wait`. `close` in another thread ends it, within two seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _WAIT_SECONDS if deadline is None else deadline - time.monotonic()
            seconds = float(min(max(left, 0), _WAIT_SECONDS))
            if self._ask(key, Op.WAIT, seconds, seconds=seconds)[0] is Word.OK:
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False

    # --- The medium -----------------------------------------------------------

    @property
    def capabilities(self) -> frozenset[Capability]:
        return _CAPABILITIES

    @property
    def medium(self) -> Medium:
        network = self._options.protocol.crosses_nodes
        return Medium.NETWORK if network else Medium.SHARED_MEMORY

    @property
    def acknowledges(self) -> Acknowledgement:
        """`MEMORY`: objects end with their store process."""
        return Acknowledgement.MEMORY

    @property
    def url(self) -> str:
        """``margo://NAMESPACE?node=...``; `from_url` makes an equal connector of it.

        With an address or interface it names the store process, which is started for it.
        """
        return self._reachable().to_url()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """A connector to the namespace that ``url`` names. Starts nothing, never owns it.

        Raises:
            ConfigError: It has another form, or an option of it is wrong.
        """
        return cls._attached(Options.from_url(url))

    def config(self) -> dict[str, Any]:
        """As `Connector.config`. With an address or interface it starts the store process."""
        return self._reachable().to_config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """As `Connector.from_config`. Starts nothing.

        Raises:
            ConfigError: An option has an unknown name or a wrong value.
        """
        return cls._attached(Options.from_config(config))

    @classmethod
    def _attached(cls, options: Options) -> Self:
        made = cls.__new__(cls)
        made._set_up(options)
        return made

    def close(self, *, clear: bool | None = None) -> None:
        place = self._processes.place
        if clear and not place.is_owner:
            raise NotOwnerError(repr(self))
        if self._closed:
            return
        self._closed = True
        let_go(place, self._tell_closed, keep=not (self._clears if clear is None else clear))
        self._client.close()

    def _tell_closed(self, found: Announcement) -> None:
        self._client.call(found.address, Op.CLOSED, self._options.namespace)

    def _reachable(self) -> Options:
        """The options, with the address of the home, if other nodes can use it."""
        options = self._options
        if options.home is None and options.crosses_nodes and not self._closed:
            options = self._options = options._replace(home=self._processes.home())
        return options

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(repr(self))
        self._processes.require_reach()

    # --- Asking ---------------------------------------------------------------

    def _put(self, address: str, payload: Payload, ttl: float | None) -> MargoKey:
        key = MargoKey(fresh_id(), address, payload_nbytes(payload))
        self._client.call(address, Op.SET, key.id, ttl, buffers=list(exposable(payload)))
        return key

    # Any: arguments of a request.
    def _ask(self, key: MargoKey, op: Op, *arguments: Any, **options: Any) -> Answer:
        self._check_open()
        address = _checked(key).address
        return self._client.call(address, op, key.id, *arguments, **options)

    def _stat(self, key: MargoKey) -> tuple[int, int] | None:
        match self._ask(key, Op.STAT):
            case (Word.OK, int(nbytes), int(generation)):
                return nbytes, generation
        return None

    def _read(
        self, key: MargoKey, offset: int, length: int | None
    ) -> tuple[BytesLike | None, int | None]:
        """A part of an object, and the generation that it is of."""
        total: int | None = key.nbytes
        while True:
            if not isinstance(total, int):
                found = self._stat(key)
                if found is None:
                    return None, None
                total, _ = found
            start = min(offset, total)
            nbytes = total - start if length is None else min(length, total - start)
            into = allocated(nbytes)
            match self._ask(key, Op.READ, start, nbytes, total, into=into):
                case (Word.OK, int(generation)):
                    return into, generation
                case (Word.RESIZED, int(total)):
                    # Replaced since the key was made.
                    continue
            return None, None


# Any: what a caller passed as a key, which may be anything.
def _checked(key: Any) -> MargoKey:
    """``key`` as it is.

    Raises:
        InvalidKeyError: It could not have come from a `MargoConnector`.
    """
    match key:
        case MargoKey(str(object_id), str(address), int() | None):
            if is_id(object_id) and is_address(address):
                return key
    raise InvalidKeyError(repr(key), f"{expected_key(MargoKey)}, of {_EXPECTED_ID}")
