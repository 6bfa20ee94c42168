"""Option names in configs and URLs, checked with the nearest match named."""

from __future__ import annotations

from collections.abc import Iterable

from proxystore.errors import ConfigError, nearest_name

__all__ = ["check_options"]


def check_options(connector: str, given: Iterable[str], known: tuple[str, ...]) -> None:
    """Return if every one of ``given`` is ``known``.

    Args:
        connector: Kind of the connector, for the message.
        given: Names of options in a config or URL.
        known: Names that the connector has.

    Raises:
        ConfigError: One is not. It names the nearest that is.
    """
    for name in given:
        if name not in known:
            asked = f"option {name!r} of connector {connector!r}"
            raise ConfigError(asked, "there is no such option", nearest_name(name, known), known)
