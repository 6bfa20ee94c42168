"""What a connector is made of, to and from configs and URLs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from proxystore.connectors.keys import EXPECTED_ID, is_id
from proxystore.connectors.options import check_options, options_from_query, query_from_options
from proxystore.errors import ConfigError
from proxystore_connectors_globus._endpoints import GlobusEndpoint, GlobusEndpoints
from proxystore_connectors_globus._login import Login

__all__ = ["Settings", "SyncLevel"]

SyncLevel = Literal["exists", "size", "mtime", "checksum"]

_URL_OPTIONS = {
    "client_id": str,
    "client_secret": str,
    "polling_interval": float,
    "sync_level": str,
    "timeout": float,
}
_OPTIONS = ("endpoints", "namespace", *_URL_OPTIONS)
_FORM = "expected globus://NAMESPACE?uuid=...&endpoint_path=...&local_path=...&host_regex=...&uuid="
_COLLECTION = tuple(field.name for field in dataclasses.fields(GlobusEndpoint))


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that two processes must agree in to reach the same objects.

    Raises:
        ConfigError: A value cannot be used.
    """

    endpoints: GlobusEndpoints
    namespace: str
    """Name of the directory, under that of each collection, which holds the objects."""
    login: Login
    polling_interval: float = 1.0
    sync_level: SyncLevel = "mtime"
    timeout: float = 60.0

    def __post_init__(self) -> None:
        namespace: Any = self.namespace
        if not isinstance(namespace, str) or not is_id(namespace):
            raise ConfigError(f"namespace {namespace!r}", f"expected {EXPECTED_ID}")
        if self.sync_level not in get_args(SyncLevel):
            asked = f"option sync_level={self.sync_level!r} of connector 'globus'"
            raise ConfigError(asked, "there is no such level", known=get_args(SyncLevel))
        for name in ("polling_interval", "timeout"):
            value: Any = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 < value < math.inf:
                asked = f"option {name}={value!r} of connector 'globus'"
                raise ConfigError(asked, "it is not a number of seconds greater than 0")

    def to_config(self) -> dict[str, Any]:
        """Plain values, from which `from_config` makes an equal object."""
        endpoints = [endpoint.fields() for endpoint in self.endpoints]
        return {"endpoints": endpoints, "namespace": self.namespace, **self._options()}

    def _options(self) -> dict[str, Any]:
        options = {
            "client_id": self.login.client_id,
            "client_secret": self.login.client_secret,
            "polling_interval": float(self.polling_interval),
            "sync_level": self.sync_level,
            "timeout": float(self.timeout),
        }
        return {name: value for name, value in options.items() if value is not None}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The settings that gave ``config``.

        Raises:
            ConfigError: A name or value is wrong; a near one is named.
        """
        check_options("globus", config, _OPTIONS)
        rest = dict(config)
        for name in ("endpoints", "namespace"):
            if name not in rest:
                raise ConfigError("a config of connector 'globus'", f"it needs {name!r}")
        login = Login.resolved(rest.pop("client_id", None), rest.pop("client_secret", None))
        return cls(GlobusEndpoints.of(rest.pop("endpoints")), login=login, **rest)

    def to_url(self) -> str:
        """The canonical URL, from which `from_url` makes an equal object."""
        pairs = [pair for endpoint in self.endpoints for pair in endpoint.fields().items()]
        collections = urlencode(pairs, safe="/", quote_via=quote)
        rest = query_from_options(self._options()).removeprefix("?")
        return f"globus://{self.namespace}?{collections}&{rest}"

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The settings that gave ``url``.

        Raises:
            ConfigError: It has another form, or an option of it is wrong.
        """
        parts = urlsplit(url)
        if parts.scheme != "globus" or not parts.netloc or parts.path or parts.fragment:
            # Not the URL itself: a secret may have been written into it.
            raise ConfigError("a URL of connector 'globus'", _FORM)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        rest = urlencode([pair for pair in pairs if pair[0] not in _COLLECTION])
        options = options_from_query("globus", rest, _URL_OPTIONS)
        columns = [[value for name, value in pairs if name == field] for field in _COLLECTION]
        if len({len(column) for column in columns}) != 1:
            raise ConfigError("a URL of connector 'globus'", _FORM)
        endpoints = [dict(zip(_COLLECTION, row, strict=True)) for row in zip(*columns, strict=True)]
        return cls.from_config({"endpoints": endpoints, "namespace": parts.netloc, **options})
