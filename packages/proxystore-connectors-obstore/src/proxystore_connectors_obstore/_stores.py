"""The library's client of an address: made with its credentials, timeouts and retries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from proxystore.secrets import read_text_secret
from proxystore_connectors_obstore._address import Address
from proxystore_connectors_obstore._failures import told
from proxystore_connectors_obstore._services import Service

__all__ = ["open_store"]

_CONNECT_S = 5.0
_RETRIES = 3
# Of a whole request, however much it moves: a stall is noticed by the time between two reads.
_LONGEST = timedelta(days=1)


# Any in this module: the library's own classes, of which a forked child has others.
def open_store(library: Any, address: Address, seconds: float) -> Any:
    """A client of ``address``. Costs some 10 ms for a remote one, and asks nothing of it.

    Args:
        library: As `proxystore_connectors_obstore._engine.library` gives it.
        address: Of the objects.
        seconds: How long a request may take, with those that repeat it.

    Raises:
        SecretNotFoundError: A reference leads nowhere on this host.
        ConnectorUnavailableError: The library cannot use the credentials.
    """
    with told(library, address):
        return _MAKERS[address.service](library.store, address, seconds)


def _s3(stores: Any, address: Address, seconds: float) -> Any:
    options: dict[str, Any] = _given(endpoint=address.endpoint, region=address.region)
    if address.credentials:
        secrets = _secrets(address)
        # By a provider: the library would add the session token of the environment to our keys.
        options["credential_provider"] = lambda: {
            "access_key_id": secrets["access_key_id"],
            "secret_access_key": secrets["secret_access_key"],
            "token": secrets.get("session_token"),
            "expires_at": None,
        }
    prefix = {"prefix": address.prefix}
    return stores.S3Store(address.bucket, **prefix, **options, **_manners(address, seconds))


def _gcs(stores: Any, address: Address, seconds: float) -> Any:
    options: dict[str, Any] = {"prefix": address.prefix}
    if address.credentials:
        options["service_account_key"] = _secrets(address)["service_account"]
    return stores.GCSStore(address.bucket, **options, **_manners(address, seconds))


def _azure(stores: Any, address: Address, seconds: float) -> Any:
    options: dict[str, Any] = _given(endpoint=address.endpoint, account_name=address.account)
    if address.credentials:
        ((name, secret),) = _secrets(address).items()
        field = {"account_key": "access_key", "sas_token": "sas_token"}[name]
        options["credential_provider"] = lambda: {field: secret, "expires_at": None}
    prefix = {"prefix": address.prefix}
    return stores.AzureStore(address.bucket, **prefix, **options, **_manners(address, seconds))


def _local(stores: Any, address: Address, seconds: float) -> Any:
    return stores.LocalStore(address.prefix)


_memories: dict[tuple[str, int], Any] = {}


def _memory(stores: Any, address: Address, seconds: float) -> Any:
    # One for all connectors of a name; a forked child, with classes of its own, has others.
    return _memories.setdefault((address.prefix, id(stores)), stores.MemoryStore())


_MAKERS: dict[Service, Callable[[Any, Address, float], Any]] = {
    Service.S3: _s3,
    Service.GCS: _gcs,
    Service.AZURE: _azure,
    Service.LOCAL: _local,
    Service.MEMORY: _memory,
}


def _given(**options: str | None) -> dict[str, str]:
    return {name: value for name, value in options.items() if value is not None}


def _secrets(address: Address) -> dict[str, str]:
    return {
        name: read_text_secret(reference, address.where)
        for name, reference in address.credentials
    }


def _manners(address: Address, seconds: float) -> dict[str, Any]:
    # Half for one try: what was begun within the first half may take the second.
    half = timedelta(seconds=seconds / 2)
    return {
        "client_options": {
            "allow_http": (address.endpoint or "").startswith("http:"),
            "connect_timeout": min(half, timedelta(seconds=_CONNECT_S)),
            "read_timeout": half,
            "timeout": _LONGEST,
        },
        "retry_config": {
            "max_retries": _RETRIES,
            "retry_timeout": half,
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=2),
                "base": 2,
            },
        },
    }
