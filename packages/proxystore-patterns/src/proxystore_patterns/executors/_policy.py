"""Which objects go by store, and which as they are."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from types import NoneType
from typing import Any, TypeAlias

__all__ = [
    "ProxyAlways",
    "ProxyNever",
    "ProxyPolicy",
    "ProxySize",
    "ProxyType",
    "approximate_nbytes",
    "is_chosen",
    "replace",
]

# Any throughout: arguments and results of tasks, of every type.
ProxyPolicy: TypeAlias = Callable[[Any], bool]
"""Whether to proxy an object. Pickles, for results are judged where tasks run."""

_MANY = 1000


class ProxyAlways:
    """Proxies every object."""

    def __call__(self, obj: Any) -> bool:
        """Yes."""
        return True


class ProxyNever:
    """Proxies no object."""

    def __call__(self, obj: Any) -> bool:
        """No."""
        return False


class ProxyType:
    """Proxies objects of certain types, and of types derived from them.

    Args:
        *types: The types.
    """

    def __init__(self, *types: type) -> None:
        self.types = types

    def __call__(self, obj: Any) -> bool:
        """Whether ``obj`` is of one of the types."""
        return isinstance(obj, self.types)


class ProxySize:
    """Proxies objects of a certain size.

    Args:
        min_nbytes: By `approximate_nbytes`, and more.

    Raises:
        ValueError: ``min_nbytes`` is negative.
    """

    def __init__(self, min_nbytes: int) -> None:
        if min_nbytes < 0:
            raise ValueError(f"No object has fewer than 0 bytes. Got min_nbytes={min_nbytes}.")
        self.min_nbytes = min_nbytes

    def __call__(self, obj: Any) -> bool:
        """Whether ``obj`` is large enough."""
        return approximate_nbytes(obj) >= self.min_nbytes


def approximate_nbytes(obj: Any) -> int:
    """Bytes of memory that ``obj`` takes, without serializing it.

    Right for text, bytes, arrays, tables and tensors (whatever has ``nbytes``), and for
    lists, tuples, sets and dicts of them. Of a long container the first 1000 items stand for all.
    Of other objects what `sys.getsizeof` says, which leaves out what they refer to. Costs
    below 1 us but for containers and data frames.
    """
    nbytes = getattr(obj, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes
    if isinstance(obj, (str, bytes, bytearray)):
        return len(obj)
    if isinstance(obj, (list, tuple, set, frozenset)):
        return sys.getsizeof(obj) + _sum_of(obj)
    if isinstance(obj, dict):
        return sys.getsizeof(obj) + _sum_of(obj.values())
    return sys.getsizeof(obj)


def _sum_of(items: Any) -> int:
    total = sum(approximate_nbytes(item) for item in itertools.islice(items, _MANY))
    return total * len(items) // _MANY if len(items) > _MANY else total


def is_chosen(policy: ProxyPolicy, obj: Any) -> bool:
    """Whether ``policy`` proxies ``obj``, of which there can be a proxy."""
    return not isinstance(obj, (bool, NoneType)) and policy(obj)


def replace(value: Any, depth: int, visit: Callable[[Any], Any]) -> Any:
    """``value`` with whatever ``visit`` replaces replaced.

    Args:
        value: Of a task. It is not changed: containers are copied if something in them is.
        depth: How far to look into lists, tuples and dicts (exactly these types); 0: not.
        visit: Gives what takes the place of a value, or the value. Is asked about a
            container first, and then, if that stays, about what is in it.
    """
    new = visit(value)
    if new is not value or depth <= 0:
        return new
    if type(value) in {list, tuple}:
        items = [replace(item, depth - 1, visit) for item in value]
        return value if _same(items, value) else type(value)(items)
    if type(value) is dict:
        named = {name: replace(each, depth - 1, visit) for name, each in value.items()}
        return value if _same(named.values(), value.values()) else named
    return value


def _same(new: Any, old: Any) -> bool:
    return all(each is before for each, before in zip(new, old, strict=True))
