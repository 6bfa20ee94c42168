"""What a proxy answers for itself, in either implementation.

None of this is in the path of a resolved proxy, so both implementations share it and
reach the proxy by its documented attributes.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from proxystore.proxy._hooks import HOOKS
from proxystore.proxy._once import run_once
from proxystore.proxy._probes import is_absent
from proxystore.proxy._recorded import class_name, find_class
from proxystore.proxy._special import index, special_methods, view
from proxystore.proxy._variants import (
    KNOWN,
    Variant,
    equip,
    fit_target,
    variant_of,
    variant_of_proxy,
)

if TYPE_CHECKING:
    from proxystore.proxy._pure import Proxy

__all__ = [
    "KNOWN",
    "OWN_METHODS",
    "OWN_NAMES",
    "complete",
    "default_class",
    "factory_error",
    "fit_target",
    "hash_or_error",
    "index",
    "list_names",
    "reduce",
    "represent",
    "resolve_once",
    "unresolved_attribute",
    "unresolved_hash",
    "variant_of",
    "view",
]

OWN_NAMES = frozenset({
    "__proxy_default_class__",
    "__proxy_default_hash__",
    "__proxy_factory__",
    "__proxy_recorded_class__",
    "__proxy_resolved__",
    "__proxy_target__",
    "__proxy_wrapped__",
    "__reduce__",
    "__reduce_ex__",
    # Absent on purpose: copy.deepcopy would copy the target, not the proxy.
    "__deepcopy__",
    # Absent on purpose: Proxy[int](...) would resolve to set it.
    "__orig_class__",
    # Absent on purpose: it lacks the units of dates and the fields of records, and numpy
    # reads past the end of texts by it. __array_interface__, asked next, has them.
    "__array_struct__",
    "__array_interface__",
    *HOOKS,
})
"""What belongs to the proxy. Every other name is the target's."""


# Any in this module: targets are of any type.
def resolve_once(proxy: Proxy[Any]) -> Any:
    """The target of ``proxy``, after calling its factory if that is necessary.

    Raises:
        ProxyReentryError: The factory used this proxy.
        ProxyResolveError: The factory raised.
    """
    while True:
        run_once(proxy, proxy.__proxy_factory__, _is_resolved, _accept)
        try:
            return proxy.__proxy_target__
        except AttributeError:
            # Another thread made it unresolved just now.
            continue


def _is_resolved(proxy: Proxy[Any]) -> bool:
    return proxy.__proxy_resolved__


def _accept(proxy: Proxy[Any], target: Any) -> None:
    proxy.__proxy_wrapped__ = target


def factory_error(factory: object) -> TypeError:
    """Says that ``factory``, which cannot be called, is none."""
    return TypeError(
        f"Factory must be callable. Got a {type(factory).__qualname__}: wrap it in "
        f"SimpleFactory, or pass a function that gives it."
    )


def unresolved_attribute(proxy: Proxy[Any], name: str) -> Any:
    """Attribute ``name`` of an unresolved proxy, which it may have to resolve for it.

    Raises:
        AttributeError: A probe, a special name that the recorded class lacks, or the target's.
        ProxyResolveError: The factory raised.
    """
    recorded = default_class(proxy)
    if name == "__class__" and recorded is not None:
        return recorded
    if name == "__doc__" and recorded is not None and isinstance(vars(recorded).get(name), str):
        # A class whose objects have their own, as functions do, has no text here.
        return recorded.__doc__
    if is_absent(name, recorded):
        described = "of unknown class" if recorded is None else f"of {recorded.__qualname__}"
        raise AttributeError(
            f"An unresolved proxy {described} has no attribute {name!r}.", name=name, obj=proxy
        )
    return getattr(proxy.__proxy_wrapped__, name)


def array_interface(proxy: Proxy[Any]) -> Any:
    """`__array_interface__` of the target.

    Raises:
        AttributeError: The target has none, or it is a scalar of numpy.
    """
    if not proxy.__proxy_resolved__:
        return unresolved_attribute(proxy, "__array_interface__")
    target = proxy.__proxy_target__
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(target, numpy.generic):
        # Its address is of memory that is free by then. numpy asks __array__ instead.
        raise AttributeError("__array_interface__", name="__array_interface__", obj=proxy)
    return target.__array_interface__


def default_class(proxy: Proxy[Any]) -> type | None:
    """The recorded class, if it is recorded and loaded here."""
    recorded: type | str | None = getattr(proxy, "__proxy_recorded_class__", None)
    return find_class(recorded) if isinstance(recorded, str) else recorded


def unresolved_hash(proxy: Proxy[Any]) -> int:
    """The recorded hash of an unresolved proxy, or else that of its target.

    Raises:
        Exception: The one that hashing raised when it was recorded.
    """
    recorded = proxy.__proxy_default_hash__
    if isinstance(recorded, Exception):
        raise recorded
    return hash(proxy.__proxy_wrapped__) if recorded is None else recorded


def hash_or_error(target: object) -> int | Exception:
    """What an unresolved proxy of ``target`` shall answer to `hash`."""
    try:
        return hash(target)
    except Exception as error:  # noqa: BLE001 - whatever a __hash__ raises is its answer.
        # The traceback holds frames, and these the target.
        return error.with_traceback(None)


def reduce(proxy: Proxy[Any]) -> tuple[Any, ...]:
    """`__reduce__`: the factory, the recorded class by name, the variant, never the target."""
    # Imported here, for the package chooses an implementation, which imports this module.
    from proxystore.proxy import _load

    recorded: type | str | None = getattr(proxy, "__proxy_recorded_class__", None)
    name = class_name(recorded) if isinstance(recorded, type) else recorded
    factory = proxy.__proxy_factory__
    variant = variant_of_proxy(proxy)
    if variant:
        return _load, (factory, name, int(variant))
    return _load, (factory,) if name is None else (factory, name)


def represent(proxy: Proxy[Any]) -> str:
    """`__repr__`, without data: a target may be gigabytes, or private."""
    wrapping = ""
    if proxy.__proxy_resolved__:
        target = proxy.__proxy_target__
        wrapping = f"wrapping {type(target).__qualname__} at {id(target):#x} "
    kind, factory = type(proxy).__name__, proxy.__proxy_factory__
    return f"<{kind} at {id(proxy):#x} {wrapping}with factory {factory!r}>"


def list_names(proxy: Proxy[Any]) -> list[str]:
    """`__dir__`: of the target or, unresolved, of the recorded class."""
    if proxy.__proxy_resolved__:
        return dir(proxy.__proxy_target__)
    return dir(default_class(proxy) or type(proxy))


OWN_METHODS: dict[str, Any] = {
    "__reduce__": reduce,
    "__repr__": represent,
    "__dir__": list_names,
    "__array_interface__": property(array_interface),
    **HOOKS,
}
"""By name, as an implementation sets them on its types."""


def complete(proxy_type: type[Any], *types: type[Any]) -> None:
    """Give the C types, those of the variants in order, the methods that they leave to Python."""
    wrapped = vars(proxy_type)["__proxy_wrapped__"]

    def bare(value: Any) -> Any:
        return value.__proxy_wrapped__ if isinstance(value, proxy_type) else value

    special = special_methods(
        wrapped.__get__, wrapped.__get__, wrapped.__set__, bare, present=vars(proxy_type)
    )
    equip(proxy_type, dict(zip(Variant, types, strict=True)), special | OWN_METHODS)
