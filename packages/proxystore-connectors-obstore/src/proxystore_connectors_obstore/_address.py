"""Where a connector's objects are, as options and as a URL."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import quote, unquote_to_bytes, urlsplit

from proxystore.connectors.keys import is_id
from proxystore.connectors.options import (
    check_options,
    options_from_query,
    query_from_options,
)
from proxystore.errors import ConfigError, nearest_name
from proxystore.secrets import check_reference
from proxystore_connectors_obstore._services import Service

__all__ = ["PART_NBYTES", "TIMEOUT_S", "Address"]

TIMEOUT_S = 60.0
PART_NBYTES = 16 << 20
_LEAST_PART_NBYTES = 5 << 20
_CLOUD_CONNECTIONS = 8
_SCHEMES = {service.scheme: service for service in Service}
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}").fullmatch
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~=+@-]+").fullmatch
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._~/-]*)?").fullmatch
_REMOTE = ("conditional", "parallel", "part_nbytes", "timeout")


def _flag(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError("expected 0 or 1")
    return text == "1"


# Any: options are of several types.
_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "conditional": _flag,
    "parallel": int,
    "part_nbytes": int,
    "timeout": float,
}


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


# Any: what somebody gave for an option.
_VALID: dict[str, tuple[Callable[[Any], bool], str]] = {
    "account": (lambda value: isinstance(value, str) and value.isalnum(), "letters and digits"),
    "conditional": (lambda value: isinstance(value, bool), "True or False"),
    "endpoint": (
        lambda value: isinstance(value, str) and bool(_ENDPOINT(value)),
        "http[s]://HOST[:PORT] and no more",
    ),
    "parallel": (lambda value: _is_whole(value, 1), "a whole number of at least 1"),
    "part_nbytes": (
        lambda value: _is_whole(value, _LEAST_PART_NBYTES),
        f"a whole number of at least {_LEAST_PART_NBYTES}, the least that S3 takes",
    ),
    "region": (
        lambda value: isinstance(value, str) and bool(_SEGMENT(value)),
        "the name of a region, such as eu-central-1",
    ),
    "timeout": (
        lambda value: isinstance(value, (int, float)) and 0 < value < math.inf,
        "a number of seconds greater than 0",
    ),
}


@dataclass(frozen=True)
class Address:
    """What another process needs to find the same objects."""

    service: Service
    bucket: str
    """Bucket or container; empty where there are none."""
    prefix: str
    """Of the objects' names; an absolute directory, or the name of a memory."""
    endpoint: str | None = None
    region: str | None = None
    account: str | None = None
    credentials: tuple[tuple[str, str], ...] = ()
    """Options and their references, sorted."""
    timeout: float = TIMEOUT_S
    part_nbytes: int = PART_NBYTES
    parallel: int | None = None
    conditional: bool = True

    @classmethod
    def parse(cls, url: str, options: Mapping[str, Any]) -> Self:
        """The address of ``url``, with ``options`` beside those in its query.

        Raises:
            ConfigError: The URL or an option is wrong, or a secret is given in clear.
                The message does not repeat what may be a secret.
        """
        service, bucket, prefix, query = _taken_apart(url)
        known = (*service.places, *service.secrets, *(_REMOTE if service.is_remote else ()))
        texts = {name: _FROM_TEXT.get(name, str) for name in known}
        found = options_from_query(service.scheme, query, texts)
        given = {name: value for name, value in options.items() if value is not None}
        check_options(service.scheme, given, known)
        for name in found.keys() & given.keys():
            asked = f"option {name!r} of connector {service.scheme!r}"
            raise ConfigError(asked, "it is given twice")
        found |= given
        secrets = {name: found.pop(name) for name in service.secrets if name in found}
        _check_credentials(service, secrets)
        made = cls(service, bucket, prefix, credentials=tuple(sorted(secrets.items())), **found)
        made._check()
        return replace(made, timeout=float(made.timeout))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The address that gave ``config``.

        Raises:
            ConfigError: As `parse`, or there is no ``url``.
        """
        options = dict(config)
        url = options.pop("url", None)
        if not isinstance(url, str):
            raise ConfigError("a config of connector 'obstore'", "it needs 'url', a string")
        return cls.parse(url, options)

    def to_config(self) -> dict[str, Any]:
        """``url`` and what differs from the defaults, as plain values."""
        return {"url": self._place(), **self._options()}

    def to_url(self) -> str:
        """The same as one URL; each address has exactly one."""
        return self._place() + query_from_options(self._options())

    @property
    def where(self) -> str:
        """The place as a user would recognise it, without credentials."""
        at = f" at {self.endpoint}" if self.endpoint else ""
        return f"{self._place()}{at}"

    @property
    def connections(self) -> int:
        """How many connections read one large object."""
        if self.parallel is not None:
            return self.parallel
        # The clouds limit each connection (S3 to some 90 MB/s); a server on site is
        # rather slowed by many requests (README.md has the measurement).
        return _CLOUD_CONNECTIONS if self.service.is_remote and self.endpoint is None else 1

    def _place(self) -> str:
        path = os.fsencode(self.prefix) if self.service is Service.LOCAL else self.prefix
        return f"{self.service.scheme}://{self.bucket}{'/' if self.bucket else ''}{quote(path)}"

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = dict(self.credentials)
        for name in (*self.service.places, *_REMOTE):
            value = getattr(self, name)
            if value != getattr(Address, name):
                options[name] = value
        return options

    def _check(self) -> None:
        for name, (is_valid, expected) in _VALID.items():
            value = getattr(self, name)
            if value != getattr(Address, name) and not is_valid(value):
                # Not repeated: an endpoint may hold a user and a password.
                asked = f"option {name!r} of connector {self.service.scheme!r}"
                raise ConfigError(asked, f"expected {expected}")
        if self.service is Service.AZURE and not self.account:
            raise ConfigError(f"URL {self._place()}", "it needs account=, the storage account")


def _taken_apart(url: str) -> tuple[Service, str, str, str]:
    scheme, separator, _ = url.partition("://")
    service = _SCHEMES.get(scheme)
    if service is None or not separator:
        known = tuple(f"{each}://" for each in _SCHEMES)
        nearest = nearest_name(f"{scheme}://", known)
        raise ConfigError("the URL of an object store", "its scheme is unknown", nearest, known)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigError(f"a URL of {service.title}", "it is no URL") from None
    path = os.fsdecode(unquote_to_bytes(parts.path))
    if parts.fragment or "@" in parts.netloc:
        found = "it holds a user, a password or a fragment; credentials have options of their own"
        raise ConfigError(f"a URL of {service.title}", found)
    if service is Service.LOCAL:
        if parts.netloc or not os.path.isabs(path) or "\0" in path or os.path.normpath(path) == "/":
            raise ConfigError(f"a URL of {service.title}", f"expected {scheme}:///absolute/directory")
        return service, "", os.path.normpath(path), parts.query
    if service is Service.MEMORY:
        if not is_id(parts.netloc) or path:
            raise ConfigError(f"a URL of {service.title}", f"expected {scheme}://NAME")
        return service, "", parts.netloc, parts.query
    prefix = path.strip("/")
    if not _BUCKET(parts.netloc) or not all(map(_SEGMENT, prefix.split("/"))):
        found = f"expected {scheme}://BUCKET/PREFIX, with letters, digits and ._~=+@- in PREFIX"
        raise ConfigError(f"a URL of {service.title}", found)
    return service, parts.netloc, prefix, parts.query


def _check_credentials(service: Service, given: Mapping[str, str]) -> None:
    for name, reference in given.items():
        check_reference(reference, name)
    lacking = {
        Service.S3: bool(given) and not {"access_key_id", "secret_access_key"} <= given.keys(),
        Service.AZURE: len(given) > 1,
    }
    if lacking.get(service):
        found = {
            Service.S3: "access_key_id and secret_access_key come together",
            Service.AZURE: "account_key and sas_token exclude each other",
        }[service]
        raise ConfigError(f"the credentials for {service.title}", found)
