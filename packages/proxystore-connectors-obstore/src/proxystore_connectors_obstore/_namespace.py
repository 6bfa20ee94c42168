"""The namespace of a connector: made by its owner, marked by an object, cleared as a whole."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from itertools import chain

from proxystore.connectors.keys import is_id
from proxystore.errors import (
    ClosedError,
    ConfigError,
    ConnectorUnavailableError,
    MediumGoneError,
    NotOwnerError,
    ProxyStoreError,
)
from proxystore.host.forks import remake_in_child
from proxystore_connectors_obstore._address import Address
from proxystore_connectors_obstore._client import AlreadyThereError, Client
from proxystore_connectors_obstore._lifecycle import end_after, end_never
from proxystore_connectors_obstore._reading import aread, read
from proxystore_connectors_obstore._services import Service
from proxystore_connectors_obstore._stamp import Stamp

__all__ = ["Namespace"]

# With a full stop, which no object's name has.
_MARKER = ".proxystore"
_FORMAT = 1


class Namespace:
    """The objects of one address, as one connector has them.

    Opens nothing until it is used. The first use of one that was not made here looks for the
    marker that its owner left, which costs one request.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._client: Client | None = None
        self._owner_pid: int | None = None
        self._is_found = False
        self._is_closed = False
        self._has_rule = False
        self._lock = threading.Lock()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        self._lock = threading.Lock()
        if self._client is not None:
            self._client.abandon()
            self._client = None

    @property
    def is_owner(self) -> bool:
        """Whether this one was made here, by this process."""
        return self._owner_pid == os.getpid()

    # --- Making -------------------------------------------------------------

    def make(self, *, adopt: bool, lifecycle_days: int | None) -> None:
        """Make it and own it, unless it is there; then own it if ``adopt``.

        Raises:
            ConfigError: Other objects have the prefix; or the service lacks what an option needs.
            ConnectorUnavailableError: The service cannot be reached or refuses.
        """
        if self.address.service is Service.LOCAL:
            self._make_directory()
        client = self._opened()
        found = read(client, _MARKER)
        if found is None:
            self._refuse_others(client, adopt=adopt)
            owns = self._mark(client)
        else:
            self._check_marker(found)
            owns = adopt
        if owns and lifecycle_days is not None:
            self._add_rule(client, lifecycle_days, is_new=found is None)
        self._is_found = True
        if owns:
            self._owner_pid = os.getpid()

    def _add_rule(self, client: Client, days: int, *, is_new: bool) -> None:
        try:
            end_after(self.address, days)
        except BaseException:
            # Nobody would own what the marker says is there.
            if is_new:
                with contextlib.suppress(ProxyStoreError):
                    client.delete(_MARKER)
            raise
        self._has_rule = True

    def _make_directory(self) -> None:
        try:
            os.makedirs(self.address.prefix, 0o700, exist_ok=True)
        except OSError as exc:
            raise ConnectorUnavailableError(
                self.address.where, exc.strerror or str(exc), "Name a directory you can make."
            ) from exc

    def _refuse_others(self, client: Client, *, adopt: bool) -> None:
        if not adopt and next(chain.from_iterable(client.listed()), None) is not None:
            raise ConfigError(
                f"{self.address.where} as a new namespace",
                "there are objects under its prefix, which its owner would clear. Name another "
                "prefix, or pass adopt=True to own them",
            )

    def _mark(self, client: Client) -> bool:
        """Whether this call was the one that made the marker."""
        marker = {"format": _FORMAT, "conditional": self.address.conditional}
        text, stamp = json.dumps(marker).encode(), Stamp.fresh()
        if not self.address.conditional:
            client.write(_MARKER, text, stamp)
            return True
        try:
            client.write(_MARKER, text, stamp, "create")
        except AlreadyThereError:
            found = client.head(_MARKER)
            return found is not None and bool(stamp.write) and found[0].write == stamp.write
        # Once more: some services take If-None-Match and do not heed it.
        with contextlib.suppress(AlreadyThereError):
            client.write(_MARKER, text, stamp, "create")
            client.delete(_MARKER)
            raise _unconditional(self.address)
        return True

    # --- Finding ------------------------------------------------------------

    def client(self) -> Client:
        """The client, once it is known that the namespace is there.

        Raises:
            ClosedError: The connector was closed.
            MediumGoneError: Nobody made the namespace, or its owner cleared it.
            ConnectorUnavailableError: The service cannot be reached, or a newer version made it.
        """
        client = self._opened()
        if not self._is_found:
            self._check_marker(read(client, _MARKER))
        return client

    async def aclient(self) -> Client:
        """As `client`."""
        client = self._opened()
        if not self._is_found:
            self._check_marker(await aread(client, _MARKER))
        return client

    def check_open(self) -> None:
        """Return if the connector is open.

        Raises:
            ClosedError: It was closed.
        """
        if self._is_closed:
            raise ClosedError(f"The connector to {self.address.where}")

    def _opened(self) -> Client:
        self.check_open()
        with self._lock:
            if self._client is None:
                self._client = Client(self.address)
            return self._client

    def _check_marker(self, found: memoryview | None) -> None:
        where = self.address.where
        if found is None:
            raise MediumGoneError(
                where,
                "nobody made this namespace, or its owner cleared it",
                "Let its owner make it with ObstoreConnector(url), and keep it open as long.",
            )
        try:
            marker = json.loads(bytes(found))
            version, conditional = marker["format"], marker["conditional"]
        except (ValueError, KeyError, TypeError) as exc:
            found_instead = f"its object {_MARKER} was not written by this package"
            raise ConnectorUnavailableError(where, found_instead, "Name another prefix.") from exc
        if version != _FORMAT:
            raise ConnectorUnavailableError(
                where,
                f"it has format {version!r}, and this version of the package knows {_FORMAT}",
                "Use the version of proxystore-connectors-obstore that made it.",
            )
        if self.address.conditional and not conditional:
            raise _unconditional(self.address)
        self._is_found = True

    # --- Ending -------------------------------------------------------------

    def close(self, *, clear: bool | None, clears: bool) -> None:
        """As `Connector.close`; ``clears`` is what an owner does by default."""
        if self._is_closed:
            return
        if clear and not self.is_owner:
            raise NotOwnerError(self.address.where)
        if self.is_owner and (clears if clear is None else clear):
            self._clear(self._opened())
        self._is_closed = True
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _clear(self, client: Client) -> None:
        if self._has_rule:
            end_never(self.address)
        for names in client.listed():
            client.delete_all([name for name in names if is_id(name)])
        # Last: should this be interrupted, the namespace can be adopted and cleared again.
        client.delete(_MARKER)
        if self.address.service is Service.LOCAL:
            self._remove_directory()

    def _remove_directory(self) -> None:
        with contextlib.suppress(OSError):
            with os.scandir(self.address.prefix) as entries:
                # What the library has begun to write for processes that died: ID#NUMBER.
                drafts = [entry.path for entry in entries if _is_draft(entry.name)]
            for path in drafts:
                os.unlink(path)
            os.rmdir(self.address.prefix)


def _is_draft(name: str) -> bool:
    object_id, separator, number = name.partition("#")
    return bool(separator) and is_id(object_id) and number.isdigit()


def _unconditional(address: Address) -> ConfigError:
    return ConfigError(
        f"option conditional=True of {address.where}",
        "the service does not heed If-None-Match, so that two processes could both set one key. "
        "Pass conditional=False and do without set() and ttl",
    )
