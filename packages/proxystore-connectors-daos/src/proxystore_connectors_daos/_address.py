"""Where a connector's objects are: as options, and as a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self
from urllib.parse import quote, unquote, urlsplit

from proxystore.connectors.options import check_options
from proxystore.errors import ConfigError

__all__ = ["Address"]

_FIELDS = ("pool", "container", "namespace")
# `clear` is for the owner, which nothing made from a config is: taken and not kept.
_OPTIONS = ("clear", *_FIELDS)
_FORM = "expected the form daos://POOL/CONTAINER/NAMESPACE"


class Address(NamedTuple):
    """What another process needs to find the same objects."""

    pool: str
    """Label or UUID."""
    container: str
    """Label or UUID."""
    namespace: str
    """Name of the dictionary in the container."""

    def __str__(self) -> str:
        return f"DAOS namespace {self.namespace!r} of container {self.pool}/{self.container}"

    def to_config(self) -> dict[str, Any]:
        """The fields, as plain values."""
        return self._asdict()

    def to_url(self) -> str:
        """The one URL of this address."""
        return "daos://" + "/".join(quote(field, safe=":") for field in self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The address that gave ``config``.

        Raises:
            ConfigError: A name is unknown, or a field is missing or no name.
        """
        check_options("daos", config, _OPTIONS)
        return cls.checked(**{field: config.get(field) for field in _FIELDS})

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The address that gave ``url``.

        Raises:
            ConfigError: It has another form.
        """
        parts = urlsplit(url)
        fields = [parts.netloc, *parts.path.split("/")[1:]]
        more = parts.query or parts.fragment or "@" in parts.netloc
        if parts.scheme != "daos" or len(fields) != len(_FIELDS) or more:
            raise ConfigError(f"URL {url!r}", _FORM)
        return cls.checked(*map(unquote, fields))

    # Any: what a caller gave as a name, which may be anything.
    @classmethod
    def checked(cls, pool: Any, container: Any, namespace: Any) -> Self:
        """The address of these names.

        Raises:
            ConfigError: One is no string, is empty, or has a null character.
        """
        for field, name in zip(_FIELDS, (pool, container, namespace), strict=True):
            if not isinstance(name, str) or not name or "\0" in name:
                found = "DAOS needs a name there: a string that is not empty"
                raise ConfigError(f"option {field}={name!r} of connector 'daos'", found)
        return cls(pool, container, namespace)
