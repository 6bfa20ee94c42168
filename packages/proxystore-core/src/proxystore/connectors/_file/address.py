"""Where a file connector's directory is: as options, and as a URL."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Self
from urllib.parse import quote, unquote_to_bytes, urlsplit

from proxystore.abc import Acknowledgement
from proxystore.connectors.options import (
    check_options,
    options_from_query,
    query_from_options,
)
from proxystore.errors import ConfigError
from proxystore.host.filesystems import filesystem_of, is_memory
from proxystore.host.node import Node, this_node

__all__ = ["Address", "acknowledgement"]

_ACKNOWLEDGEMENTS = {ack.value: ack for ack in (Acknowledgement.PROCESS, Acknowledgement.DISK)}
_URL_OPTIONS = ("acknowledge", "node")
# `clear` is for the owner, which nothing made from a config is: taken and not kept.
_OPTIONS = ("acknowledge", "clear", "node", "store_dir")


class Address(NamedTuple):
    """What another process needs to find the same objects."""

    path: str
    """Absolute."""
    node: Node | None = None
    """The one node that has the directory in its memory; `None` for a disk."""
    acknowledge: Acknowledgement = Acknowledgement.PROCESS
    scheme: str = "file"
    """Of its URL: which connector it is for."""

    def to_config(self) -> dict[str, Any]:
        """`path` and what differs from the defaults, as plain values."""
        return {"store_dir": self.path, **self._options()}

    def to_url(self) -> str:
        """The same as the shortest URL; each address has exactly one."""
        path, query = quote(os.fsencode(self.path)), query_from_options(self._options())
        return f"{self.scheme}://{path}{query}"

    def _options(self) -> dict[str, str]:
        options = {}
        if self.acknowledge is not Acknowledgement.PROCESS:
            options["acknowledge"] = self.acknowledge.value
        if self.node is not None:
            options["node"] = str(self.node)
        return options

    def completed(self) -> Self:
        """This address, with its node if the directory is here, in memory, and it has none."""
        if self.node is not None:
            return self
        try:
            device = os.stat(self.path).st_dev
        except OSError:
            # What is wrong with the directory is told when it is used.
            return self
        in_memory = is_memory(filesystem_of(self.path, device))
        return self._replace(node=this_node()) if in_memory else self

    @classmethod
    def from_config(cls, config: Mapping[str, Any], scheme: str = "file") -> Self:
        """The address that gave ``config``.

        Raises:
            ConfigError: A name or value is wrong; a near one is named.
        """
        check_options(scheme, config, _OPTIONS)
        if not isinstance(config.get("store_dir"), (str, os.PathLike)):
            raise ConfigError(f"a config of connector {scheme!r}", "it needs the path 'store_dir'")
        return cls._checked(os.fspath(config["store_dir"]), config, scheme)

    @classmethod
    def from_url(cls, url: str, scheme: str = "file") -> Self:
        """The address that gave ``url``.

        Raises:
            ConfigError: It is not ``file:///path``, or an option of it is wrong.
        """
        parts = urlsplit(url)
        if parts.scheme != scheme or parts.netloc or parts.fragment:
            expected = f"expected the form {scheme}:///absolute/directory"
            raise ConfigError(f"URL {url!r}", expected)
        options = options_from_query(scheme, parts.query, dict.fromkeys(_URL_OPTIONS, str))
        path = os.fsdecode(unquote_to_bytes(parts.path))
        return cls._checked(path, options, scheme)

    # Any: options as they are in a config.
    @classmethod
    def _checked(cls, path: str, options: Mapping[str, Any], scheme: str) -> Self:
        node = options.get("node")
        if not os.path.isabs(path) or "\0" in path:
            raise ConfigError(f"directory {path!r}", "a config or URL needs an absolute path")
        try:
            parsed = None if node is None else Node.parse(node)
        except ValueError as error:
            raise ConfigError(f"option node={node!r}", str(error)) from error
        level = acknowledgement(options.get("acknowledge", Acknowledgement.PROCESS))
        return cls(os.path.normpath(path), parsed, level, scheme)


def acknowledgement(value: Acknowledgement | str) -> Acknowledgement:
    """The level that ``value`` is or names.

    Raises:
        ConfigError: Files can acknowledge no such level.
    """
    if value in _ACKNOWLEDGEMENTS.values():
        return Acknowledgement(value)
    try:
        return _ACKNOWLEDGEMENTS[str(value)]
    except KeyError:
        asked = f"option acknowledge={value!r} of connector 'file'"
        known = tuple(_ACKNOWLEDGEMENTS)
        raise ConfigError(asked, "there is no such level", known=known) from None
