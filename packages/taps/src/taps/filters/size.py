"""Filters by the size of an object, estimated or exact."""

from __future__ import annotations

import math
import pickle
import sys
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from taps.filters.abc import FilterConfig

__all__ = ["ObjectSizeConfig", "ObjectSizeFilter", "PickleSizeConfig", "PickleSizeFilter"]


class ObjectSizeFilter:
    """Transforms objects of ``min_bytes`` to ``max_bytes``, as `sys.getsizeof` says.

    Cheap, and exact for arrays and bytes; of a list or dict it does not count the items.
    """

    def __init__(self, *, min_bytes: int = 0, max_bytes: float = math.inf) -> None:
        self.min_bytes, self.max_bytes = min_bytes, max_bytes

    def __call__(self, obj: Any) -> bool:
        return self.min_bytes <= sys.getsizeof(obj) <= self.max_bytes


class PickleSizeFilter:
    """Transforms objects that are ``min_bytes`` to ``max_bytes`` long when pickled.

    Pickles each object to find out, but copies no large buffers.
    """

    def __init__(self, *, min_bytes: int = 0, max_bytes: float = math.inf) -> None:
        self.min_bytes, self.max_bytes = min_bytes, max_bytes

    def __call__(self, obj: Any) -> bool:
        buffers: list[pickle.PickleBuffer] = []
        in_band = pickle.dumps(obj, protocol=5, buffer_callback=buffers.append)
        nbytes = len(in_band) + sum(buffer.raw().nbytes for buffer in buffers)
        return self.min_bytes <= nbytes <= self.max_bytes


class _SizeConfig(FilterConfig):
    min_size: int = Field(default=0, ge=0, description="smallest size, in bytes")
    max_size: float = Field(default=math.inf, ge=0, description="largest size, in bytes")

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.min_size > self.max_size:
            raise ValueError(
                f"min_size ({self.min_size}) is larger than max_size ({self.max_size:g}), "
                f"so that nothing would ever pass"
            )
        return self


class ObjectSizeConfig(_SizeConfig):
    """Transforms objects by their size in memory, estimated by sys.getsizeof."""

    name: Literal["object-size"] = "object-size"

    def get_filter(self) -> ObjectSizeFilter:
        """The filter."""
        return ObjectSizeFilter(min_bytes=self.min_size, max_bytes=self.max_size)


class PickleSizeConfig(_SizeConfig):
    """Transforms objects by their size when pickled, which is exact but costs a pickling."""

    name: Literal["pickle-size"] = "pickle-size"

    def get_filter(self) -> PickleSizeFilter:
        """The filter."""
        return PickleSizeFilter(min_bytes=self.min_size, max_bytes=self.max_size)
