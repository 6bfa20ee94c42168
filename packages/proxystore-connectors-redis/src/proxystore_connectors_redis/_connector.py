"""`RedisConnector`: objects in a Redis server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self

from proxystore.abc import Acknowledgement, Capability, Connector, Medium
from proxystore.connectors.keys import checked_id, fresh_id
from proxystore.connectors.options import check_range
from proxystore.errors import (
    ConfigError,
    ConnectorUnavailableError,
    CorruptObjectError,
    KeyAlreadySetError,
    KeyNotSetError,
    MediumFullError,
)
from proxystore.payload import BytesLike, Payload
from proxystore_connectors_redis._address import (
    SECRET_OPTIONS,
    address_from_config,
    address_from_url,
    checked_namespace,
    url_of,
)
from proxystore_connectors_redis._attachment import Attachment
from proxystore_connectors_redis._layout import (
    EVICT,
    HEADER_NBYTES,
    OPEN,
    PART_NBYTES,
    TOUCH,
    Header,
)
from proxystore_connectors_redis._reading import ChangedError, Found, read, read_all
from proxystore_connectors_redis._server import Server
from proxystore_connectors_redis._wire import Reply, ServerError, as_text, ask, command, script
from proxystore_connectors_redis._writing import Draft, commit, digits, milliseconds, write_all

__all__ = ["RedisConnector", "RedisKey"]

_CAPABILITIES = frozenset({
    Capability.CROSS_PROCESS,
    Capability.DEFERRABLE,
    Capability.LEASABLE,
    Capability.RANGED,
    Capability.REPLACEABLE,
    Capability.WAITABLE,
})
_READINGS = 8


class RedisKey(NamedTuple):
    """Key of an object in a `RedisConnector`."""

    redis_key: str
    """1 to 64 characters of ``[A-Za-z0-9_-]``; in Redis the namespace comes before it."""


class RedisConnector(Connector[RedisKey]):
    """Keeps objects in a Redis server (or Valkey, or KeyDB), for every host that reaches it.

    Objects lie in a namespace. Whoever makes it owns it, in that process, and
    clears it on `close`; opening one that is there owns nothing. Clearing
    removes the objects of the namespace and touches nothing else in the server.
    What `from_url` and `from_config` attach to a namespace that nobody made, or that
    was cleared, raises `MediumGoneError` when it is first used.

    An object appears whole, at once, whatever its size. Large objects go
    between the memory of the caller and the socket without a copy, and `get`
    gives writable memory that is the caller's own.

    An object survives its writer, and what the server survives: nothing, unless
    it was configured to keep its data on disk.

    Every call ends within ``timeout`` seconds of the last byte that came or went.
    Lost connections are made anew, once for each call. Up to 64 are open at a
    time; more threads take turns.

    Args:
        hostname: Name or address of the server; the default is 127.0.0.1.
        port: Of the server; the default is 6379.
        socket_path: Absolute path of its unix socket, in place of ``hostname`` and ``port``.
        sentinels: ``"HOST:PORT"`` of each, in place of them: they know which server is the
            primary of ``service``. After a failover the next call finds the new one.
        service: Its name.
        cluster: ``"HOST:PORT"`` of some nodes of a cluster, in place of them. A namespace
            lies in one slot, and so on one node; namespaces spread over the nodes.
        db: Number of the database.
        username: Of a user in the server's ACL.
        password: A reference, such as ``"env:REDIS_PASSWORD"``; see `proxystore.secrets`.
        tls: Encrypt, and let the server prove who it is.
        tls_ca: File of certificates to trust, in place of those of the system.
        tls_cert: File with a certificate to prove who we are.
        tls_key: File with its key.
        tls_verify: Whether the server must prove who it is.
        namespace: 1 to 64 characters of ``[A-Za-z0-9_-]``. The default is a fresh one.
        timeout: Seconds.
        clear: Whether the owner's `close` clears the namespace.
        adopt: Own the namespace even if it is there: who owned it does no more.

    Raises:
        ConfigError: An option has a value that it cannot have.
        ConnectorUnavailableError: The server cannot be reached, or refused us.
        SecretNotFoundError: The password is not where the reference says.
    """

    key_type: ClassVar[type] = RedisKey
    secret_options: ClassVar[frozenset[str]] = SECRET_OPTIONS

    _part_nbytes: ClassVar[int] = PART_NBYTES

    def __init__(
        self,
        hostname: str | None = None,
        port: int | None = None,
        *,
        socket_path: str | None = None,
        sentinels: Sequence[str] | None = None,
        service: str | None = None,
        cluster: Sequence[str] | None = None,
        db: int = 0,
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
        tls_ca: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
        tls_verify: bool = True,
        namespace: str | None = None,
        timeout: float = 10.0,
        clear: bool = True,
        adopt: bool = False,
    ) -> None:
        options = {
            "hostname": hostname,
            "port": port,
            "socket_path": socket_path,
            "sentinels": sentinels,
            "service": service,
            "cluster": cluster,
            "db": db,
            "username": username,
            "password": password,
            "tls": tls,
            "tls_ca": tls_ca,
            "tls_cert": tls_cert,
            "tls_key": tls_key,
            "tls_verify": tls_verify,
            "timeout": timeout,
        }
        name = fresh_id() if namespace is None else checked_namespace(namespace)
        self._attachment = Attachment(Server.checked(options), name)
        self._attachment.own(clear=clear, adopt=adopt)

    def __repr__(self) -> str:
        return f"<RedisConnector to {self._attachment.where}>"

    @property
    def url(self) -> str:
        """The canonical URL, from which `from_url` makes an equal connector elsewhere."""
        return url_of(self._attachment.server, self._attachment.namespace.name)

    @classmethod
    def from_url(cls, url: str, *, namespace: str | None = None, clear: bool = True) -> Self:
        """A connector to the namespace that ``url`` names, which it does not own.

        Connects when it is first used. A URL without a namespace makes one, as
        the constructor does.

        Args:
            url: ``redis://USER@HOST:PORT/DB/NAMESPACE``, ``rediss://...`` for TLS,
                ``redis+unix:///SOCKET?db=DB&namespace=NAMESPACE``,
                ``redis+sentinel://HOST:PORT,HOST:PORT/DB/NAMESPACE?service=NAME``, or
                ``redis+cluster://HOST:PORT,HOST:PORT/0/NAMESPACE``. Other options of
                the constructor follow as ``?password=env:NAME&timeout=5``.
            namespace: What to make where ``url`` names none.
            clear: As for the constructor.

        Raises:
            ConfigError: ``url`` is no such URL, has a password in it, or names an
                unknown option; or both it and ``namespace`` name one.
            ConnectorUnavailableError: The server cannot be reached, to make a namespace.
        """
        server, found = address_from_url(url)
        if found is None:
            return cls(**server.options(), namespace=namespace, clear=clear)
        if namespace is not None:
            raise ConfigError("option 'namespace' of connector 'redis'", "the URL has one too")
        return cls._attached(server, found)

    def config(self) -> dict[str, Any]:
        server = self._attachment.server
        config = {"namespace": self._attachment.namespace.name, **server.options()}
        if not (server.socket_path or server.sentinels or server.cluster):
            config |= {"hostname": server.hostname, "port": server.port}
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """As `Connector.from_config`. Connects when it is first used.

        Raises:
            ConfigError: An option has an unknown name or a wrong value.
        """
        return cls._attached(*address_from_config(config))

    @classmethod
    def _attached(cls, server: Server, namespace: str) -> Self:
        made = cls.__new__(cls)
        made._attachment = Attachment(server, namespace)
        return made

    @property
    def capabilities(self) -> frozenset[Capability]:
        return _CAPABILITIES

    @property
    def medium(self) -> Medium:
        return Medium.NETWORK

    @property
    def acknowledges(self) -> Acknowledgement:
        """`MEMORY`: what a server keeps on disk is up to its configuration."""
        return Acknowledgement.MEMORY

    @property
    def is_owner(self) -> bool:
        """Whether this connector made or adopted its namespace, in this process."""
        return self._attachment.is_owner

    # --- Objects --------------------------------------------------------------

    def put(self, payload: Payload, *, ttl: float | None = None) -> RedisKey:
        key = RedisKey(fresh_id())
        self._put([self._draft(key.redis_key, payload)], ttl)
        return key

    def put_batch(self, payloads: Sequence[Payload], *, ttl: float | None = None) -> list[RedisKey]:
        """As `Connector.put_batch`; sent without waiting for an answer to each."""
        keys = [RedisKey(fresh_id()) for _ in payloads]
        pairs = zip(keys, payloads, strict=True)
        self._put([self._draft(key.redis_key, payload) for key, payload in pairs], ttl)
        return keys

    def get(self, key: RedisKey) -> BytesLike | None:
        """As `Connector.get`: writable memory that is the caller's own."""
        found = self._read(key, 0, None)
        return None if found is None else found.data

    def get_with_generation(self, key: RedisKey) -> tuple[BytesLike | None, int | None]:
        found = self._read(key, 0, None)
        return (None, None) if found is None else (found.data, found.header.number)

    def get_range(self, key: RedisKey, offset: int, length: int) -> BytesLike | None:
        check_range(offset, length)
        found = self._read(key, offset, length)
        return None if found is None else found.data

    def get_batch(self, keys: Sequence[RedisKey]) -> list[BytesLike | None]:
        reading = partial(
            read_all, names=[self._name(key) for key in keys], where=self._attachment.where
        )
        try:
            return self._attachment.run(reading)
        except ChangedError:
            # One by one, each is tried again for itself.
            return [self.get(key) for key in keys]

    def exists(self, key: RedisKey) -> bool:
        return self._ask(command(b"EXISTS", self._name(key))) == 1

    def evict(self, key: RedisKey) -> None:
        self._ask(script(EVICT, self._name(key)))

    def new_key(self, object_id: str | None = None) -> RedisKey:
        self._attachment.require_open()
        key = RedisKey(fresh_id() if object_id is None else object_id)
        checked_id(key, RedisKey)
        return key

    def set(self, key: RedisKey, payload: Payload, *, ttl: float | None = None) -> None:
        draft = self._draft(checked_id(key, RedisKey), payload)
        if self._commit(draft, b"set", milliseconds(ttl)) == b"there":
            raise KeyAlreadySetError(repr(key))

    def replace(self, key: RedisKey, payload: Payload) -> None:
        """As `Replaceable.replace`. The object keeps its time to live."""
        draft = self._draft(checked_id(key, RedisKey), payload)
        if self._commit(draft, b"replace", None) == b"absent":
            raise KeyNotSetError(repr(key))

    def generation(self, key: RedisKey) -> int | None:
        last = HEADER_NBYTES - 1
        found = self._ask(command(b"GETRANGE", self._name(key), b"0", b"%d" % last))
        if not found:
            return None
        return Header.from_bytes(as_text(found), self._attachment.where).number

    def touch(self, key: RedisKey, ttl: float | None) -> bool:
        ms = milliseconds(ttl)
        return self._ask(script(TOUCH, self._name(key), digits(ms))) == 1

    def wait(self, key: RedisKey, timeout: float | None = None) -> bool:
        """As `Waitable.wait`. A server that is gone for a moment does not end it.

        Raises:
            ConnectorUnavailableError: The server is gone, or was for longer than the
                timeout of the connector.
            ClosedError: The connector was closed meanwhile.
        """
        exists = partial(self.exists, key)
        return self._attachment.notices.wait(self._name(key), exists, timeout)

    def notify(self, key: RedisKey, call: Callable[[], None]) -> Callable[[], None]:
        """As `Notifier.notify`, by one connection however many keys there are."""
        return self._attachment.notices.call_on(self._name(key), call)

    def close(self, *, clear: bool | None = None) -> None:
        """As `Connector.close`. Clearing looks at every name in the database, in the server.

        Raises:
            NotOwnerError: ``clear=True``, and the namespace is not ours, or not any more.
            ConnectorUnavailableError: The server cannot be used, to clear. The connector stays
                open: close it again, or with ``clear=False``.
        """
        self._attachment.close(clear=clear)

    # --- With the server ------------------------------------------------------

    def _name(self, key: RedisKey) -> bytes:
        return self._attachment.namespace.object_name(checked_id(key, RedisKey))

    def _draft(self, object_id: str, payload: Payload) -> Draft:
        name = self._attachment.namespace.object_name(object_id)
        return Draft.of(name, payload, self._part_nbytes)

    def _ask(self, request: bytes) -> Reply:
        return self._attachment.run(partial(ask, request=request))

    def _put(self, drafts: Sequence[Draft], ttl: float | None) -> None:
        """Write what has names that nobody knows yet."""
        ms = milliseconds(ttl)
        small = [draft for draft in drafts if not draft.header.part_nbytes]
        try:
            if small:
                self._write(small, ms)
            if len(small) < len(drafts):
                for draft in drafts:
                    if draft.header.part_nbytes:
                        self._commit(draft, b"set", ms)
        except (ConnectorUnavailableError, MediumFullError) as error:
            # A server that did not answer would only keep us waiting once more.
            if error.__cause__ is None or isinstance(error.__cause__, ServerError):
                self._discard([name for draft in drafts for name in draft.names])
            raise

    def _write(self, drafts: Sequence[Draft], ms: int | None) -> None:
        nbytes = sum(draft.header.nbytes for draft in drafts)
        ask_state = self._attachment.namespace.ask_state
        write = partial(write_all, drafts=drafts, ask_state=ask_state, ms=ms)
        state = self._attachment.run(write, nbytes)
        if state != OPEN:
            self._attachment.check_open(state)

    def _commit(self, draft: Draft, mode: bytes, ms: int | None) -> bytes:
        """What `COMMIT` answered: ``done``, or what about the object forbids it."""
        record = self._attachment.namespace.record
        write = partial(commit, draft=draft, record=record, mode=mode, ms=ms)
        answer = self._attachment.run(write, draft.header.nbytes)
        if not answer:
            self._attachment.check_open(answer)
            answer = self._attachment.run(write, draft.header.nbytes) or b"lost"
        if answer == b"lost":
            raise ConnectorUnavailableError(
                self._attachment.where,
                "the server lost what was written, before all of it was there",
                "See whether it was restarted or flushed meanwhile, and try again.",
            )
        if answer not in {b"done", b"there", b"absent"}:
            self._attachment.check_open(answer)
        return answer

    def _read(self, key: RedisKey, offset: int, length: int | None) -> Found | None:
        name, where = self._name(key), self._attachment.where
        reading = partial(read, name=name, where=where, offset=offset, length=length, whole=False)
        for _ in range(_READINGS):
            try:
                return self._attachment.run(reading)
            except ChangedError:
                reading = partial(reading, whole=True)
        raise CorruptObjectError(
            f"of {key!r} in {where}, parts are missing, or it was replaced {_READINGS} times "
            f"while it was being read",
            "See whether the server evicts (maxmemory-policy); 'noeviction' keeps objects whole.",
        )

    def _discard(self, names: list[bytes]) -> None:
        # What is left otherwise has a time to live, or goes with the namespace.
        with contextlib.suppress(ConnectorUnavailableError):
            self._ask(command(b"UNLINK", *names))
