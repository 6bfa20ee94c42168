"""Which objects go by store, and which as they are."""

from __future__ import annotations

import itertools
import pickle
import sys
from collections.abc import Callable
from types import NoneType
from typing import Any, TypeAlias

from proxystore_patterns._options import checked_count, refusal

__all__ = [
    "ProxyAlways",
    "ProxyNever",
    "ProxyPolicy",
    "ProxySize",
    "ProxyType",
    "approximate_nbytes",
    "checked_policy",
    "checked_sending",
    "is_chosen",
    "replace",
]

# Any throughout: arguments and results of tasks, of every type.
ProxyPolicy: TypeAlias = Callable[[Any], bool]
"""Whether to proxy an object. Pickles, for results are judged where tasks run."""

_LOOKS = 1000
_DEEP = 20


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
        TypeError: It is no whole number.
    """

    def __init__(self, min_nbytes: int) -> None:
        self.min_nbytes = checked_count("ProxySize", min_nbytes, least=0)

    def __call__(self, obj: Any) -> bool:
        """Whether ``obj`` is large enough."""
        return approximate_nbytes(obj) >= self.min_nbytes


def approximate_nbytes(obj: Any) -> int:
    """Bytes of memory that ``obj`` takes, without serializing it.

    Right for text, bytes, arrays, tables and tensors (whatever has ``nbytes``), and for
    lists, tuples, sets and dicts of them. Some 1000 items are looked at, 20 containers deep at
    most; in long containers the first ones stand for all. Of other objects what `sys.getsizeof`
    says, which leaves out what they refer to. Costs below 1 us but for containers and data
    frames.
    """
    nbytes = getattr(obj, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes
    if isinstance(obj, (str, bytes, bytearray)):
        return len(obj)
    if isinstance(obj, _CONTAINERS):
        return _nbytes_with_items(obj, _LOOKS, ())
    return sys.getsizeof(obj)


_CONTAINERS = (list, tuple, set, frozenset, dict)


def _nbytes_with_items(container: Any, looks: int, around: tuple[int, ...]) -> int:
    """Of a container and of what is in it, by looking at some ``looks`` items in all.

    Args:
        container: Not counted, nor what is in it, if it is one of those ``around`` it.
        looks: Shared by its items, of which each gets one or more.
        around: The identities of the containers that it is in.
    """
    own = sys.getsizeof(container)
    if len(around) == _DEEP or id(container) in around or not container:
        return own
    around = (*around, id(container))
    items = container.values() if isinstance(container, dict) else container
    n_seen = min(len(container), looks)
    total = 0
    for item in itertools.islice(items, n_seen):
        if isinstance(item, _CONTAINERS):
            total += _nbytes_with_items(item, max(1, looks // n_seen), around)
        else:
            total += approximate_nbytes(item)
    return own + total * len(container) // n_seen


def checked_policy(asked: str, policy: object) -> None:
    """See that ``policy`` can be asked, by whoever ``asked`` for one.

    Raises:
        TypeError: It cannot.
    """
    if not callable(policy):
        wanted = "a policy such as ProxySize(100_000), which is called with each object"
        raise TypeError(refusal(f"{asked}(should_proxy=)", wanted, policy))


def checked_sending(asked: str, policy: ProxyPolicy) -> None:
    """See that ``policy`` can be sent to where tasks run.

    Raises:
        TypeError: It cannot.
    """
    try:
        pickle.dumps(policy)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        wanted = "a policy that pickles, such as a function at the top level of a module"
        raise TypeError(refusal(f"{asked}(should_proxy=)", wanted, policy)) from error


def is_chosen(policy: ProxyPolicy, obj: Any) -> bool:
    """Whether ``policy`` proxies ``obj``, of which there can be a proxy."""
    return not isinstance(obj, (bool, NoneType)) and policy(obj)


def replace(
    value: Any, depth: int, visit: Callable[[Any], Any], _around: tuple[Any, ...] = ()
) -> Any:
    """``value`` with whatever ``visit`` replaces replaced.

    Args:
        value: Of a task. It is not changed: containers are copied if something in them is.
        depth: How far to look into lists, tuples and dicts (exactly these types); 0: not.
            Never into one that is looked into already, for it contains itself.
        visit: Gives what takes the place of a value, or the value. Is asked about a
            container first, and then, if that stays, about what is in it.
    """
    if depth <= 0:
        return visit(value)
    if any(value is each for each in _around):
        return value
    new = visit(value)
    if new is not value:
        return new
    within = (*_around, value)
    if type(value) in {list, tuple}:
        items = [replace(item, depth - 1, visit, within) for item in value]
        return value if _same(items, value) else type(value)(items)
    if type(value) is dict:
        named = {k: replace(each, depth - 1, visit, within) for k, each in value.items()}
        return value if _same(named.values(), value.values()) else named
    return value


def _same(new: Any, old: Any) -> bool:
    return all(each is before for each, before in zip(new, old, strict=True))
