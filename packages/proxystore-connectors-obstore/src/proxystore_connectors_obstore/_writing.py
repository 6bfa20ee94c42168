"""Writes that are more than one request: batches, and those that depend on what is there."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from proxystore.connectors.keys import fresh_id
from proxystore.errors import ConnectorUnavailableError, ProxyStoreError
from proxystore.payload import Payload
from proxystore_connectors_obstore._client import AlreadyThereError, ChangedError, Client
from proxystore_connectors_obstore._failures import busy, was_cut
from proxystore_connectors_obstore._reading import read
from proxystore_connectors_obstore._stamp import Stamp

__all__ = ["create", "renew", "write_batch"]

_ATTEMPTS = 8


def write_batch(client: Client, payloads: Sequence[Payload], stamp: Stamp) -> list[str]:
    """Fresh names of ``payloads``, each stored; if one fails, those that were are removed."""
    named = [(fresh_id(), payload) for payload in payloads]
    names = [name for name, _ in named]
    try:
        client.map(lambda pair: client.write(pair[0], pair[1], stamp), named)
    except BaseException:
        with contextlib.suppress(ProxyStoreError):
            client.delete_all(names)
        raise
    return names


def create(client: Client, name: str, payload: Payload, stamp: Stamp) -> bool:
    """Store ``payload`` under ``name``; `False` if that has an object that has not expired."""
    mode: object = "create"
    for _ in range(_ATTEMPTS):
        if _is_written(client, name, payload, stamp, mode):
            return True
        found = client.head(name)
        if found is None:
            mode = "create"
            continue
        there, e_tag = found
        # Ours, if the answer to an earlier try was lost.
        if stamp.write and there.write == stamp.write:
            return True
        if not there.has_expired:
            return False
        mode = {"e_tag": e_tag}
    raise busy(client.address, name)


def renew(client: Client, name: str, stamp: Stamp) -> bool:
    """Write object ``name`` again, with ``stamp``; `False` if it is absent or has expired."""
    for _ in range(_ATTEMPTS):
        found = client.head(name)
        if found is None or found[0].has_expired:
            return False
        there, e_tag = found
        if there.write == stamp.write or there.expires is stamp.expires is None:
            return True
        data = read(client, name)
        if data is None:
            continue
        if _is_written(client, name, data, stamp, {"e_tag": e_tag}):
            return True
    raise busy(client.address, name)


def _is_written(client: Client, name: str, payload: Payload, stamp: Stamp, mode: object) -> bool:
    """Whether a write succeeded; if not, what is there now must be looked at."""
    try:
        client.write(name, payload, stamp, mode)
    except (AlreadyThereError, ChangedError):
        return False
    except ConnectorUnavailableError as exc:
        # The library does not repeat it, for it cannot know whether it was done; the stamp tells.
        if not was_cut(exc):
            raise
        return False
    return True
