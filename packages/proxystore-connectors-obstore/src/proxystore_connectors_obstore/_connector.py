"""`ObstoreConnector`: objects in S3, Google Cloud Storage, Azure, a directory or memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

from proxystore.abc import Acknowledgement, Capability, Connector, Medium
from proxystore.connectors.keys import checked_id, fresh_id
from proxystore.connectors.options import check_range
from proxystore.errors import CapabilityError, KeyAlreadySetError
from proxystore.payload import BytesLike, Payload
from proxystore_connectors_obstore import _writing
from proxystore_connectors_obstore._address import Address
from proxystore_connectors_obstore._lifecycle import check_days
from proxystore_connectors_obstore._namespace import Namespace
from proxystore_connectors_obstore._reading import aread, read
from proxystore_connectors_obstore._services import SECRETS
from proxystore_connectors_obstore._stamp import Stamp

__all__ = ["ObstoreConnector", "ObstoreKey"]


class ObstoreKey(NamedTuple):
    """Key of an object in an `ObstoreConnector`."""

    object_id: str
    """1 to 64 characters of ``[A-Za-z0-9_-]``; the object's name under the prefix."""


class ObstoreConnector(Connector[ObstoreKey]):
    """Keeps each object as an object of its own under one prefix of a bucket.

    Whoever makes the namespace owns it, in that process, and removes its
    objects on `close`. To make one costs some four requests. Opening one that
    is there owns nothing. What `from_url` and `from_config` give opens nothing
    until it is used, and its first use costs one request more.

    A put, get, exists or evict is one request. Objects of more than four parts
    are sent in parts, from the buffers that were given; a large one is received
    into private memory that the caller may write to.

    The prefix, once made, is consistent if the service is: S3, Google Cloud
    Storage and Azure show an object to everybody as soon as its put returned.

    Leases are attributes of the objects: from the moment that a time to live
    ends, by the clock of whoever reads, the object is absent. Its bytes stay
    until it is evicted, the namespace is cleared, or a lifecycle rule removes
    them. `touch` reads the object and writes it again, for no service lets its
    attributes be changed otherwise.

    Args:
        url: ``s3://BUCKET/PREFIX``, ``gs://BUCKET/PREFIX``,
            ``az://CONTAINER/PREFIX?account=NAME``, ``obstore+file:///DIRECTORY``
            or ``obstore+memory://NAME``; the options below that are not for the
            owner may stand in its query.
        endpoint: ``http[s]://HOST[:PORT]`` of a service that is not the cloud's own.
        region: Of an S3 bucket.
        account: Of Azure storage.
        access_key_id: Reference to a secret, as `proxystore.secrets` takes it,
            like all that follow. With none, S3's usual places are searched:
            the environment, and the role of the instance or container.
        secret_access_key: Of S3; comes with ``access_key_id``.
        session_token: Of S3, for temporary keys.
        service_account: Of Google: a service account's key, in JSON.
        account_key: Of Azure.
        sas_token: Of Azure, in place of ``account_key``.
        timeout: Seconds that one request may take without progress, with
            what repeats it.
        part_nbytes: Size of the parts of large objects.
        parallel: Connections that read one large object; the default is 8 at
            the clouds, which limit each connection, and 1 elsewhere.
        conditional: Whether the service heeds ``If-None-Match`` and
            ``If-Match``. If not, nothing is claimed that needs them.
        lifecycle_days: Have S3 remove whatever in this namespace is that old,
            by a rule of the bucket. Needs the extra ``lifecycle``.
        clear: Whether the owner's `close` clears it.
        adopt: Own a namespace that is there too, or a prefix with other objects.

    Raises:
        ConfigError: The URL or an option is wrong; a secret is given in clear;
            a new namespace has objects of others; the service does not heed conditions.
        ConnectorUnavailableError: The service cannot be reached, or refuses.
        SecretNotFoundError: A reference leads nowhere on this host.
    """

    key_type: ClassVar[type] = ObstoreKey
    secret_options: ClassVar[frozenset[str]] = SECRETS

    def __init__(
        self,
        url: str,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        account: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        service_account: str | None = None,
        account_key: str | None = None,
        sas_token: str | None = None,
        timeout: float | None = None,
        part_nbytes: int | None = None,
        parallel: int | None = None,
        conditional: bool | None = None,
        lifecycle_days: int | None = None,
        clear: bool = True,
        adopt: bool = False,
    ) -> None:
        options = {
            "endpoint": endpoint,
            "region": region,
            "account": account,
            "access_key_id": access_key_id,
            "secret_access_key": secret_access_key,
            "session_token": session_token,
            "service_account": service_account,
            "account_key": account_key,
            "sas_token": sas_token,
            "timeout": timeout,
            "part_nbytes": part_nbytes,
            "parallel": parallel,
            "conditional": conditional,
        }
        address = Address.parse(url, options)
        check_days(address, lifecycle_days)
        self._set_up(address, clear=clear)
        self._namespace.make(adopt=adopt, lifecycle_days=lifecycle_days)

    def _set_up(self, address: Address, *, clear: bool) -> None:
        self._address = address
        self._namespace = Namespace(address)
        self._clears = clear
        self._capabilities = _capabilities(address)

    def __repr__(self) -> str:
        return f"<ObstoreConnector {self._address.where}>"

    # --- Objects --------------------------------------------------------------

    def put(self, payload: Payload, *, ttl: float | None = None) -> ObstoreKey:
        stamp = self._stamp(ttl)
        name = fresh_id()
        self._namespace.client().write(name, payload, stamp)
        return ObstoreKey(name)

    def put_batch(
        self, payloads: Sequence[Payload], *, ttl: float | None = None
    ) -> list[ObstoreKey]:
        """As `Connector.put_batch`, up to 16 at once. If one fails, the others are removed."""
        stamp = self._stamp(ttl)
        names = _writing.write_batch(self._namespace.client(), payloads, stamp)
        return [ObstoreKey(name) for name in names]

    def get(self, key: ObstoreKey) -> BytesLike | None:
        """As `Connector.get`: writable memory of the caller's own above 1 MiB, read-only below."""
        return read(self._namespace.client(), checked_id(key, ObstoreKey))

    def get_batch(self, keys: Sequence[ObstoreKey]) -> list[BytesLike | None]:
        """As `Connector.get_batch`, up to 16 at once."""
        client = self._namespace.client()
        names = [checked_id(key, ObstoreKey) for key in keys]
        found = client.map(lambda name: read(client, name, alone=len(names) == 1), names)
        return list(found)

    def get_range(self, key: ObstoreKey, offset: int, length: int) -> BytesLike | None:
        check_range(offset, length)
        name = checked_id(key, ObstoreKey)
        return read(self._namespace.client(), name, offset, length)

    def exists(self, key: ObstoreKey) -> bool:
        return self._namespace.client().exists(checked_id(key, ObstoreKey))

    def evict(self, key: ObstoreKey) -> None:
        self._namespace.client().delete(checked_id(key, ObstoreKey))

    # --- Deferrable and leasable ----------------------------------------------

    def new_key(self, object_id: str | None = None) -> ObstoreKey:
        """As `Deferrable.new_key`.

        Raises:
            CapabilityError: The connector was made with ``conditional=False``.
        """
        self._namespace.check_open()
        self._require(Capability.DEFERRABLE, "new_key()")
        key = ObstoreKey(fresh_id() if object_id is None else object_id)
        checked_id(key, ObstoreKey)
        return key

    def set(self, key: ObstoreKey, payload: Payload, *, ttl: float | None = None) -> None:
        """As `Deferrable.set`: in one request, of at most 5 GiB at S3.

        Raises:
            CapabilityError: The connector was made with ``conditional=False``.
        """
        name = checked_id(key, ObstoreKey)
        self._require(Capability.DEFERRABLE, "set()")
        stamp = self._stamp(ttl)
        if not _writing.create(self._namespace.client(), name, payload, stamp):
            raise KeyAlreadySetError(repr(key))

    def touch(self, key: ObstoreKey, ttl: float | None) -> bool:
        """As `Leasable.touch`. Reads the whole object and writes it again, unless nothing changes.

        Raises:
            CapabilityError: Objects of this service have no attributes.
        """
        name = checked_id(key, ObstoreKey)
        self._require(Capability.LEASABLE, "touch()")
        return _writing.renew(self._namespace.client(), name, Stamp.fresh(ttl))

    # --- Async ----------------------------------------------------------------

    async def aput(self, payload: Payload, *, ttl: float | None = None) -> ObstoreKey:
        stamp = self._stamp(ttl)
        name = fresh_id()
        client = await self._namespace.aclient()
        await client.awrite(name, payload, stamp)
        return ObstoreKey(name)

    async def aget(self, key: ObstoreKey) -> BytesLike | None:
        name = checked_id(key, ObstoreKey)
        return await aread(await self._namespace.aclient(), name)

    async def aexists(self, key: ObstoreKey) -> bool:
        name = checked_id(key, ObstoreKey)
        return await (await self._namespace.aclient()).aexists(name)

    async def aevict(self, key: ObstoreKey) -> None:
        name = checked_id(key, ObstoreKey)
        await (await self._namespace.aclient()).adelete(name)

    # --- The medium -----------------------------------------------------------

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._capabilities

    @property
    def medium(self) -> Medium:
        return self._address.service.medium

    @property
    def acknowledges(self) -> Acknowledgement:
        return self._address.service.acknowledges

    @property
    def is_owner(self) -> bool:
        """Whether this connector owns its namespace, in this process."""
        return self._namespace.is_owner

    @property
    def url(self) -> str:
        """The canonical URL, from which `from_url` makes an equal connector elsewhere."""
        return self._address.to_url()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """A connector to the namespace at ``url``, which it does not own. Opens nothing.

        Raises:
            ConfigError: The URL or an option in its query is wrong.
        """
        return cls._attached(Address.parse(url, {}))

    def config(self) -> dict[str, Any]:
        return self._address.to_config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """As `Connector.from_config`. Opens nothing.

        Raises:
            ConfigError: An option has an unknown name or a wrong value.
        """
        return cls._attached(Address.from_config(config))

    @classmethod
    def _attached(cls, address: Address) -> Self:
        made = cls.__new__(cls)
        made._set_up(address, clear=False)
        return made

    def close(self, *, clear: bool | None = None) -> None:
        """As `Connector.close`. Only an owner made with ``clear=True`` clears by default.

        If the service cannot be reached to clear, the connector stays open: close it again, or
        with ``clear=False``.
        """
        self._namespace.close(clear=clear, clears=self._clears)

    def _stamp(self, ttl: float | None) -> Stamp:
        if ttl is not None:
            self._require(Capability.LEASABLE, "ttl")
        return Stamp.fresh(ttl)

    def _require(self, capability: Capability, asked: str) -> None:
        if capability not in self._capabilities:
            raise CapabilityError(asked, repr(self), capability.value)


def _capabilities(address: Address) -> frozenset[Capability]:
    found = {Capability.RANGED, Capability.ASYNC}
    if address.service.medium is not Medium.PROCESS:
        found.add(Capability.CROSS_PROCESS)
    if address.conditional:
        found.add(Capability.DEFERRABLE)
        if address.service.has_attributes:
            found.add(Capability.LEASABLE)
    return frozenset(found)
