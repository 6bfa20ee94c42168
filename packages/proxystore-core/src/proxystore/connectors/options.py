"""Options of connectors, in configs, URLs and calls: checked once, with the nearest match named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import index
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from proxystore.errors import ConfigError, nearest_name

__all__ = [
    "check_options",
    "check_range",
    "checked_ttl",
    "options_from_query",
    "query_from_options",
]


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


# Any: an option is of whatever type its connector gives it.
def options_from_query(
    connector: str, query: str, known: Mapping[str, Callable[[str], Any]]
) -> dict[str, Any]:
    """The options in the query of a URL, as `query_from_options` wrote them.

    Args:
        connector: Kind of the connector, for messages.
        query: What follows the question mark.
        known: For each option what makes a value of its text, such as `float`;
            it raises ValueError where it cannot.

    Raises:
        ConfigError: A name is unknown or given twice, or a value cannot be read.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    options: dict[str, Any] = {}
    check_options(connector, (name for name, _ in pairs), tuple(known))
    for name, text in pairs:
        if name in options:
            raise ConfigError(f"option {name!r} of connector {connector!r}", "it is given twice")
        try:
            options[name] = known[name](text)
        except ValueError as exc:
            asked = f"option {name}={text!r} of connector {connector!r}"
            raise ConfigError(asked, str(exc)) from exc
    return options


def query_from_options(options: Mapping[str, Any]) -> str:
    """The query of a URL, question mark included; nothing for no options.

    Each set of options has one query: they are sorted, and a flag is 1 or 0.
    """
    texts = {
        name: str(int(value) if isinstance(value, bool) else value)
        for name, value in sorted(options.items())
    }
    return f"?{urlencode(texts, safe=':/', quote_via=quote)}" if texts else ""


def checked_ttl(ttl: float | None) -> float | None:
    """``ttl`` as it is.

    Raises:
        ValueError: It is not greater than zero.
        TypeError: It is no number.
    """
    try:
        # ">" rather than "<=": a NaN compares false with everything.
        valid = ttl is None or ttl > 0
    except TypeError as exc:
        raise TypeError(_expected_ttl(ttl)) from exc
    if not valid:
        raise ValueError(_expected_ttl(ttl))
    return ttl


def check_range(offset: int, length: int) -> None:
    """Return if both can be asked of `Ranged.get_range`.

    Raises:
        ValueError: One is negative.
        TypeError: One is no whole number.
    """
    try:
        valid = index(offset) >= 0 and index(length) >= 0
    except TypeError as exc:
        found = f"{offset!r} and {length!r}"
        raise TypeError(f"offset and length are whole numbers, not {found}.") from exc
    if not valid:
        raise ValueError(f"offset and length are at least 0, not {offset} and {length}.")


def _expected_ttl(ttl: object) -> str:
    return f"ttl is a number of seconds greater than 0, or None, not {ttl!r}."
