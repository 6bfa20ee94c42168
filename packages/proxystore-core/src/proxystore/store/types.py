"""Types that the signatures of stores are written in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from proxystore.payload import BytesLike, Payload

if TYPE_CHECKING:
    # A default needs PEP 696, which only type checkers know on Python 3.11.
    from typing_extensions import TypeVar

    # Any: a connector may be one that only the older system's contract describes.
    ConnectorT = TypeVar("ConnectorT", default=Any)
else:
    from typing import TypeVar

    ConnectorT = TypeVar("ConnectorT")

__all__ = ["Address", "ConnectorT", "DeserializerT", "SerializerT"]

# Any: serializers take and give objects of every type.
SerializerT: TypeAlias = Callable[[Any], Payload]
DeserializerT: TypeAlias = Callable[[BytesLike], Any]

Address: TypeAlias = str | tuple[str, dict[str, Any]]
"""Enough to rebuild a connector: its URL, or its kind and config."""
