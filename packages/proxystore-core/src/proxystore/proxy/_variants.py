"""Which type a proxy has, so that code that looks at types takes it for its target.

`match` and `os.path` never ask an object: they look at what its type is made of. A
proxy whose target's class is known has a type that is made the same way.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

__all__ = ["LACKED", "Variant", "equip", "fit", "fit_target", "variant_of", "variant_of_proxy"]


class Variant(IntEnum):
    """A kind of target for which proxies have a type of their own. The number is in pickles."""

    SEQUENCE = 1
    """Matches sequence patterns."""
    MAPPING = 2
    """Matches mapping patterns."""
    PATH = 3
    """A `str` or `os.PathLike`: taken for a path where an integer or bytes would do too."""
    ARRAY = 4
    """Matches sequence patterns, and has all that other sequences lack, as numpy's arrays."""


# --- Which variant for which class ---

_SCARCE = frozenset({
    "__index__",
    "__call__",
    "__next__",
    "__await__",
    "__aiter__",
    "__anext__",
    "__aenter__",
    "__aexit__",
})

LACKED: dict[Variant, frozenset[str]] = {
    Variant.SEQUENCE: _SCARCE | {"__fspath__"},
    Variant.MAPPING: _SCARCE | {"__fspath__", "__buffer__"},
    Variant.PATH: _SCARCE | {"__buffer__"},
    Variant.ARRAY: frozenset(),
}
"""The special methods that the type of each variant does not have."""

# Py_TPFLAGS_SEQUENCE and Py_TPFLAGS_MAPPING, the same in every Python since 3.10.
_MATCHES_SEQUENCES = 1 << 5
_MATCHES_MAPPINGS = 1 << 6

_COMMON: dict[type, Variant | None] = {
    str: Variant.PATH,
    list: Variant.SEQUENCE,
    tuple: Variant.SEQUENCE,
    dict: Variant.MAPPING,
    bytes: None,
    int: None,
    float: None,
}


def variant_of(cls: type) -> Variant | None:
    """The variant for targets of class ``cls``; `None` for the type that has everything.

    Costs 0.1 us for the commonest classes and 1 us for others.
    """
    try:
        return _COMMON[cls]
    except KeyError:
        variant = _likely_variant(cls)
    if variant is None or not any(_defines(cls, name) for name in LACKED[variant]):
        return variant
    return Variant.ARRAY if variant is Variant.SEQUENCE else None


def _likely_variant(cls: type) -> Variant | None:
    if cls.__flags__ & _MATCHES_SEQUENCES:
        return Variant.SEQUENCE
    if cls.__flags__ & _MATCHES_MAPPINGS:
        return Variant.MAPPING
    return Variant.PATH if issubclass(cls, (str, os.PathLike)) else None


def _defines(cls: type, name: str) -> bool:
    # Not hasattr, which finds the methods of the metaclass too.
    return any(name in vars(base) for base in cls.__mro__)


# --- The types of an implementation ---

# By the type of a proxy, those of its implementation. A class that somebody derived from
# Proxy is not here: its proxies keep their type. Any: targets are of any type.
_families: dict[type[Any], dict[int | None, type[Any]]] = {}
_variants: dict[type[Any], Variant] = {}
_set_type: Any = vars(object)["__class__"].__set__


def equip(types: dict[int | None, type[Any]], methods: Mapping[str, Any]) -> None:
    """Complete the types of an implementation.

    Args:
        types: `Proxy` as `None`, and one for each `Variant`. All derive from one base, for
            a variant has less than `Proxy` and so cannot derive from it.
        methods: By name; each is given to the base, or to the types that do not lack it,
            unless they have their own.
    """
    base: Any = types[None].__base__
    scarce = frozenset[str]().union(*LACKED.values())
    for name, method in methods.items():
        owners = [base] if name not in scarce else [
            cls for key, cls in types.items() if key is None or name not in LACKED[Variant(key)]
        ]
        for cls in owners:
            if name not in vars(cls):
                setattr(cls, name, method)
    # Sets the bits of the types that `match` looks at.
    Sequence.register(types[Variant.SEQUENCE])
    Sequence.register(types[Variant.ARRAY])
    Mapping.register(types[Variant.MAPPING])
    _families.update(dict.fromkeys(types.values(), types))
    _variants.update({cls: Variant(key) for key, cls in types.items() if key is not None})


def fit(proxy: Any, variant: int | None) -> None:
    """Give ``proxy`` the type of ``variant``, if its type is one of an implementation.

    A variant that is not known here, from a later version, changes nothing.
    """
    own = type(proxy)
    fitting = _families.get(own, {}).get(variant, own)
    if fitting is not own:
        _set_type(proxy, fitting)


def fit_target(proxy: Any, target: Any) -> None:
    """Give ``proxy`` the type that fits ``target``, which it is about to have."""
    own = type(proxy)
    types = _families.get(own)
    if types is not None:
        fitting = types[variant_of(type(target))]
        if fitting is not own:
            _set_type(proxy, fitting)


def variant_of_proxy(proxy: Any) -> Variant | None:
    """The variant of which ``proxy`` is. Resolves nothing."""
    return _variants.get(type(proxy))
