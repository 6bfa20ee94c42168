"""Finds and replaces objects anywhere in nested lists, tuples, dicts, sets and dataclasses."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

__all__ = ["Predicate", "find", "replace"]

Predicate: TypeAlias = Callable[[object], bool]

# Most arguments are of these types: one look-up instead of five checks.
_LEAVES = frozenset({int, float, complex, bool, str, bytes, bytearray, type(None)})


def find(values: Iterable[object], wanted: Predicate) -> list[Any]:
    """Every object below ``values`` that is ``wanted``, once each, in order.

    Looks into the values of dicts, not into their keys. Never touches an
    attribute of an object it does not know, so proxies stay unresolved.
    Costs some 60 ns per object.
    """
    pending = [value for value in values if type(value) not in _LEAVES]
    if not pending:
        return []
    pending.reverse()
    found: dict[int, object] = {}
    containers: dict[int, object] = {}
    while pending:
        value = pending.pop()
        kind = type(value)
        if kind in _LEAVES:
            continue
        if wanted(value):
            found.setdefault(id(value), value)
        elif (children := _children(value, kind)) is not None and id(value) not in containers:
            containers[id(value)] = value
            pending.extend(children[::-1])
    return list(found.values())


def _children(value: Any, kind: type) -> tuple[Any, ...] | None:
    if issubclass(kind, (list, tuple, set, frozenset)):
        return tuple(value)
    if issubclass(kind, dict) and not issubclass(kind, Counter):  # Its values are numbers.
        return tuple(value.values())
    fields = _dataclass_fields(kind)
    if not fields:
        return None
    return tuple(getattr(value, name) for name in fields if hasattr(value, name))


def _dataclass_fields(kind: type) -> tuple[str, ...]:
    # Asked of the type: dataclasses.is_dataclass(value) would resolve a proxy.
    fields = getattr(kind, "__dataclass_fields__", None)
    return tuple(fields) if isinstance(fields, dict) else ()


def replace(value: Any, wanted: Predicate, new: Callable[[Any], Any]) -> Any:
    """``value`` with ``new(x)`` in place of each ``wanted`` x below it.

    Containers on the way to a replacement are copied, all others are the very
    same objects. A container that contains itself is followed once.
    """
    return _replace(value, wanted, new, set())


# Any throughout: arguments of tasks have every type there is.
def _replace(value: Any, wanted: Predicate, new: Callable[[Any], Any], active: set[int]) -> Any:
    kind = type(value)
    if kind in _LEAVES or id(value) in active:
        return value
    if wanted(value):
        return new(value)
    children = _children(value, kind)
    if children is None:
        return value
    active.add(id(value))
    after = [_replace(child, wanted, new, active) for child in children]
    active.discard(id(value))
    if all(old is now for old, now in zip(children, after, strict=True)):
        return value
    return _rebuilt(value, kind, iter(after))


def _rebuilt(value: Any, kind: type, items: Iterator[Any]) -> Any:
    if issubclass(kind, tuple):
        return kind(*items) if hasattr(kind, "_fields") else kind(items)
    if issubclass(kind, (set, frozenset)):
        return kind(items)
    twin = copy.copy(value)
    if issubclass(kind, list):
        twin[:] = items
    elif issubclass(kind, dict):
        twin.update(zip(value, items, strict=True))
    else:
        for name, item in zip(
            (name for name in _dataclass_fields(kind) if hasattr(value, name)), items, strict=True
        ):
            object.__setattr__(twin, name, item)  # Frozen dataclasses refuse setattr.
    return twin
