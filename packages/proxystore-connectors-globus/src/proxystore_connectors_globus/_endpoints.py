"""The collections between which objects move, and which of them this process is at."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import socket
import uuid as uuids
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias, overload

from proxystore.connectors.options import check_options
from proxystore.errors import ConfigError, ConnectorUnavailableError, nearest_name

__all__ = ["HERE_VARIABLE", "EndpointsLike", "GlobusEndpoint", "GlobusEndpoints"]

HERE_VARIABLE = "PROXYSTORE_GLOBUS_COLLECTION"
"""Names the collection of this process where its host name does not tell."""

_FIELDS = ("uuid", "endpoint_path", "local_path", "host_regex")


@dataclasses.dataclass(frozen=True)
class GlobusEndpoint:
    r"""A directory of a Globus collection, and how the hosts at its site see it.

    Args:
        uuid: Of the collection.
        endpoint_path: The directory as Globus names it, such as ``"/~/objects"``.
        local_path: The same directory as the hosts of the site name it, absolute.
        host_regex: Matches the whole name of every host of the site, such as
            ``r"login\d+|nid\d{6}"``.

    Raises:
        TypeError: One is of another type.
        ConfigError: One has a wrong form.
    """

    uuid: str
    endpoint_path: str
    local_path: str
    host_regex: str

    def __init__(
        self,
        uuid: str | uuids.UUID,
        endpoint_path: str,
        local_path: str | os.PathLike[str],
        host_regex: str | re.Pattern[str],
    ) -> None:
        pattern = host_regex.pattern if isinstance(host_regex, re.Pattern) else host_regex
        local = os.fspath(local_path)
        for name, value in zip(_FIELDS, (str(uuid), endpoint_path, local, pattern), strict=True):
            if not isinstance(value, str):
                raise TypeError(f"{name} of a GlobusEndpoint is a str, not {value!r}.")
        # Frozen: nobody else may set what is part of a store's identity.
        object.__setattr__(self, "uuid", _uuid(uuid))
        object.__setattr__(self, "endpoint_path", _collection_path(endpoint_path))
        object.__setattr__(self, "local_path", _local_path(local))
        object.__setattr__(self, "host_regex", _regex(pattern))

    def fields(self) -> dict[str, str]:
        """The arguments, as plain values."""
        return {name: getattr(self, name) for name in _FIELDS}

    def is_at(self, host: str) -> bool:
        """Whether a host of this name is at the site."""
        return re.fullmatch(self.host_regex, host) is not None


EndpointsLike: TypeAlias = (
    Iterable[GlobusEndpoint | Mapping[str, str]] | Mapping[str, Mapping[str, str]]
)
"""What `GlobusEndpoints.of` takes."""


class GlobusEndpoints(Sequence[GlobusEndpoint]):
    """Two or more collections, each once. Immutable.

    Args:
        endpoints: In the order in which `get_by_host` tries them.

    Raises:
        ConfigError: They are fewer than two, or one is given twice.
        TypeError: One is no `GlobusEndpoint`.
    """

    def __init__(self, endpoints: Iterable[GlobusEndpoint]) -> None:
        self._endpoints = tuple(endpoints)
        for endpoint in self._endpoints:
            if not isinstance(endpoint, GlobusEndpoint):
                raise TypeError(f"Expected a GlobusEndpoint, not {endpoint!r}.")
        known = [endpoint.uuid for endpoint in self._endpoints]
        if len(known) < 2:
            found = "there are fewer than two, so there is nothing to transfer"
            raise ConfigError("the collections of connector 'globus'", found)
        for uuid in known:
            if known.count(uuid) > 1:
                raise ConfigError(f"collection {uuid} of connector 'globus'", "it is given twice")

    @overload
    def __getitem__(self, index: int) -> GlobusEndpoint: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[GlobusEndpoint]: ...
    def __getitem__(self, index: int | slice) -> GlobusEndpoint | Sequence[GlobusEndpoint]:
        return self._endpoints[index]

    def __len__(self) -> int:
        return len(self._endpoints)

    def __iter__(self) -> Iterator[GlobusEndpoint]:
        return iter(self._endpoints)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GlobusEndpoints) and self._endpoints == other._endpoints

    def __hash__(self) -> int:
        return hash(self._endpoints)

    def __repr__(self) -> str:
        return f"GlobusEndpoints({list(self._endpoints)!r})"

    @classmethod
    def of(cls, endpoints: EndpointsLike) -> Self:
        """The collections from any form in which they are written.

        Args:
            endpoints: `GlobusEndpoint` objects, or their fields: a sequence of
                mappings, or a mapping from uuids to the other fields.

        Raises:
            ConfigError: A field is missing, unknown or of a wrong form.
        """
        if isinstance(endpoints, Mapping):
            return cls.from_dict(endpoints)
        return cls(
            each if isinstance(each, GlobusEndpoint) else _from_fields(each) for each in endpoints
        )

    @classmethod
    def from_dict(cls, endpoints: Mapping[str, Mapping[str, str]]) -> Self:
        """The collections from a mapping of uuids to the other fields, as `dict` gives it."""
        return cls(_from_fields({"uuid": uuid, **rest}) for uuid, rest in endpoints.items())

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Self:
        """The collections from a JSON file of what `of` takes.

        Raises:
            ConfigError: The file cannot be read, is no JSON, or a field is wrong.
        """
        asked = f"file {os.fspath(path)!r} with the collections of connector 'globus'"
        try:
            return cls.of(json.loads(Path(path).read_text("utf-8")))
        except OSError as exc:
            raise ConfigError(asked, f"it cannot be read: {exc.strerror or exc}") from exc
        except (json.JSONDecodeError, UnicodeDecodeError) as exc:
            raise ConfigError(asked, f"it is not JSON: {exc}") from exc

    def dict(self) -> dict[str, dict[str, str]]:
        """Uuids to the other fields, as `from_dict` takes them."""
        fields = [endpoint.fields() for endpoint in self._endpoints]
        return {each.pop("uuid"): each for each in fields}

    def get_by_host(self, host: str) -> GlobusEndpoint:
        """The first collection whose site has a host of this name.

        Raises:
            ConnectorUnavailableError: There is none.
        """
        for endpoint in self._endpoints:
            if endpoint.is_at(host):
                return endpoint
        patterns = ", ".join(repr(endpoint.host_regex) for endpoint in self._endpoints)
        raise ConnectorUnavailableError(
            f"Globus from host {host!r}",
            f"no collection is at this host (their host_regex: {patterns})",
            f"Correct host_regex, add a collection of this site, or set {HERE_VARIABLE} to "
            f"the uuid of the one whose local_path this process sees.",
        )

    def here(self) -> GlobusEndpoint:
        """The collection of this process: by ``PROXYSTORE_GLOBUS_COLLECTION``, else by host name.

        Raises:
            ConnectorUnavailableError: No collection is at this host.
            ConfigError: The variable names none of them.
        """
        named = os.environ.get(HERE_VARIABLE)
        if not named:
            return self.get_by_host(socket.gethostname())
        known = tuple(endpoint.uuid for endpoint in self._endpoints)
        if named.lower() not in known:
            found = "the connector has no such collection"
            nearest = nearest_name(named, known)
            raise ConfigError(f"{HERE_VARIABLE}={named!r}", found, nearest, known)
        return self._endpoints[known.index(named.lower())]


# Any: fields as somebody wrote them.
def _from_fields(fields: Mapping[str, Any]) -> GlobusEndpoint:
    check_options("globus", fields, _FIELDS)
    missing = [name for name in _FIELDS if name not in fields]
    if missing:
        asked = f"collection {fields.get('uuid', '')!s} of connector 'globus'"
        raise ConfigError(asked, f"it has no {missing[0]!r}", known=_FIELDS)
    return GlobusEndpoint(**fields)


def _uuid(uuid: str | uuids.UUID) -> str:
    try:
        return str(uuids.UUID(str(uuid)))
    except ValueError as exc:
        raise ConfigError(f"collection {uuid!s}", "its uuid is not one") from exc


def _collection_path(path: str) -> str:
    if not path.startswith("/") or "\n" in path or ".." in path.split("/"):
        raise ConfigError(f"endpoint_path {path!r}", "it is not absolute, as '/~/objects' is")
    return path.rstrip("/") or "/"


def _local_path(path: str) -> str:
    if not os.path.isabs(path) or "\0" in path:
        raise ConfigError(f"local_path {path!r}", "it is not absolute")
    return os.path.normpath(path)


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as exc:
        raise ConfigError(f"host_regex {pattern!r}", f"it is no regular expression: {exc}") from exc
    return pattern
