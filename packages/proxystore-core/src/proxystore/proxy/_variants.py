"""Which type a proxy has, so that code that looks at types takes it for its target.

`match` and `os.path` never ask an object: they look at what its type is made of. A
proxy whose target's class is known has a type that is made the same way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any
from weakref import ref

__all__ = [
    "KNOWN",
    "LACKED",
    "Variant",
    "equip",
    "fit",
    "fit_target",
    "variant_of",
    "variant_of_proxy",
]


class Variant(IntEnum):
    """A kind of target for which proxies have a type of their own. The number is in pickles."""

    OBJECT = 0
    """Any other, or not known: has every special method."""
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
    Variant.OBJECT: frozenset(),
    Variant.SEQUENCE: _SCARCE | {"__fspath__"},
    Variant.MAPPING: _SCARCE | {"__fspath__", "__buffer__"},
    Variant.PATH: _SCARCE | {"__buffer__"},
    Variant.ARRAY: frozenset(),
}
"""The special methods that the type of each variant does not have."""

# Py_TPFLAGS_SEQUENCE and Py_TPFLAGS_MAPPING, the same in every Python since 3.10.
_MATCHES_SEQUENCES = 1 << 5
_MATCHES_MAPPINGS = 1 << 6

# By id, for a metaclass may make classes that are not hashable, and held weakly: when a class
# dies, its entry goes before its id can be that of another.
KNOWN: dict[int, Variant] = {}
"""The variant for each class that was asked for, by the `id` of the class."""

_watched: dict[int, ref[type]] = {}


def variant_of(cls: type) -> Variant:
    """The variant for targets of class ``cls``. Costs 1 us for a class that is not `KNOWN`."""
    variant = _likely_variant(cls)
    if any(_defines(cls, name) for name in LACKED[variant]):
        variant = Variant.ARRAY if variant is Variant.SEQUENCE else Variant.OBJECT
    key = id(cls)

    def forget(_: object) -> None:
        KNOWN.pop(key, None)
        _watched.pop(key, None)

    _watched[key] = ref(cls, forget)
    KNOWN[key] = variant
    return variant


def _likely_variant(cls: type) -> Variant:
    if cls.__flags__ & _MATCHES_SEQUENCES:
        return Variant.SEQUENCE
    if cls.__flags__ & _MATCHES_MAPPINGS:
        return Variant.MAPPING
    return Variant.PATH if issubclass(cls, (str, os.PathLike)) else Variant.OBJECT


def _defines(cls: type, name: str) -> bool:
    # Not hasattr, which finds the methods of the metaclass too.
    return any(name in vars(base) for base in cls.__mro__)


# --- The types of an implementation ---

# By the type of a proxy, those of its implementation. A class that somebody derived from
# Proxy is not here: its proxies keep their type. Any: targets are of any type.
_families: dict[type[Any], dict[int, type[Any]]] = {}
_variants: dict[type[Any], Variant] = {}
_set_type: Any = vars(object)["__class__"].__set__


def equip(
    proxy_type: type[Any],
    types: Mapping[Variant, type[Any]],
    methods: Mapping[str, Callable[..., Any]],
) -> None:
    """Complete the types of an implementation.

    Args:
        proxy_type: `Proxy`, from which all ``types`` derive. It has what these have in common.
        types: One for each `Variant`.
        methods: By name; each is given to ``proxy_type``, or to the types that do not lack
            it, unless they have their own.
    """
    scarce = frozenset[str]().union(*LACKED.values()) & methods.keys()
    for name, method in methods.items():
        owners = [proxy_type] if name not in scarce else [
            cls for variant, cls in types.items() if name not in LACKED[variant]
        ]
        for cls in owners:
            if name not in vars(cls):
                setattr(cls, name, method)
    _complete_subclasses(proxy_type, {name: methods[name] for name in scarce})
    # Sets the bits of the types that `match` looks at.
    Sequence.register(types[Variant.SEQUENCE])
    Sequence.register(types[Variant.ARRAY])
    Mapping.register(types[Variant.MAPPING])
    family = {int(variant): cls for variant, cls in types.items()}
    _families.update(dict.fromkeys([proxy_type, *types.values()], family))
    _variants.update({cls: variant for variant, cls in types.items()})


def _complete_subclasses(proxy_type: Any, methods: Mapping[str, Callable[..., Any]]) -> None:
    """Give ``methods`` to each class that somebody derives, for it may stand for anything."""

    def complete(cls: type[Any], /, **options: Any) -> None:
        super(proxy_type, cls).__init_subclass__(**options)
        for name, method in methods.items():
            if not _defines(cls, name):
                setattr(cls, name, method)

    proxy_type.__init_subclass__ = classmethod(complete)


def fit(proxy: Any, variant: int) -> None:
    """Give ``proxy`` the type of ``variant``, if its type is one of an implementation.

    A variant that is not known here, from a later version, changes nothing.
    """
    own = type(proxy)
    fitting = _families.get(own, {}).get(variant, own)
    if fitting is not own:
        _set_type(proxy, fitting)


def fit_target(proxy: Any, target: Any) -> None:
    """Give ``proxy`` the type that fits ``target``, which it is about to have."""
    cls = type(target)
    try:
        variant = KNOWN[id(cls)]
    except KeyError:
        variant = variant_of(cls)
    fit(proxy, variant)


def variant_of_proxy(proxy: Any) -> Variant:
    """The variant of which ``proxy`` is. Resolves nothing."""
    return _variants.get(type(proxy), Variant.OBJECT)
