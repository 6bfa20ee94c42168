"""The special methods of a proxy, written from tables.

Python looks special methods up on the type, so a proxy needs every one of them.
They differ in one line; the rest reads the target, or resolves it. The source is
compiled rather than built from closures because a closure costs one more call,
a third of the time of ``p + 1``.
"""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Callable, Container
from typing import Any

__all__ = ["index", "special_methods", "view"]

_BINARY = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%",
    "matmul": "@", "lshift": "<<", "rshift": ">>", "and": "&", "or": "|", "xor": "^",
}  # fmt: skip
_COMPARISONS = {"lt": "<", "le": "<=", "eq": "==", "ne": "!=", "gt": ">", "ge": ">="}

# The signature, and what happens once `target` is at hand, up to and with the return.
_METHODS = {
    # A tuple that is proxied is not a tuple to str.__mod__ until it is bare.
    "__mod__(self, other)": "return target % bare(other)",
    "__pow__(self, other, *modulo)": "return pow(target, other, *modulo)",
    "__rpow__(self, other, *modulo)": "return pow(other, target, *modulo)",
    "__ipow__(self, other)": "target **= bare(other); assign(self, target); return self",
    "__divmod__(self, other)": "return divmod(target, other)",
    "__rdivmod__(self, other)": "return divmod(other, target)",
    "__neg__(self)": "return -target",
    "__pos__(self)": "return +target",
    "__abs__(self)": "return abs(target)",
    "__invert__(self)": "return ~target",
    # Conversions.
    "__bool__(self)": "return True if target else False",
    "__int__(self)": "return int(target)",
    "__float__(self)": "return float(target)",
    "__complex__(self)": "return complex(target)",
    "__index__(self)": "return index(target)",
    "__round__(self, *ndigits)": "return round(target, *ndigits)",
    "__trunc__(self)": "return trunc(target)",
    "__floor__(self)": "return floor(target)",
    "__ceil__(self)": "return ceil(target)",
    "__str__(self)": "return str(target)",
    "__bytes__(self)": "return bytes(target)",
    "__format__(self, specification)": "return format(target, specification)",
    "__fspath__(self)": "return fspath(target)",
    # Containers and iterators.
    "__len__(self)": "return len(target)",
    "__length_hint__(self)": "return length_hint(target)",
    "__getitem__(self, key)": "return target[key]",
    "__setitem__(self, key, value)": "target[key] = value; return",
    "__delitem__(self, key)": "del target[key]; return",
    "__contains__(self, item)": "return item in target",
    "__iter__(self)": "return iter(target)",
    "__next__(self)": "return next(target)",
    "__reversed__(self)": "return reversed(target)",
    # Calls, classes and contexts.
    "__call__(self, /, *args, **kwargs)": "return target(*args, **kwargs)",
    "__instancecheck__(self, instance)": "return isinstance(instance, target)",
    "__subclasscheck__(self, subclass)": "return issubclass(subclass, target)",
    "__enter__(self)": "return special(target, '__enter__')()",
    "__exit__(self, *error)": "return special(target, '__exit__')(*error)",
    # Coroutines.
    "__await__(self)": "return special(target, '__await__')()",
    "__aiter__(self)": "return aiter(target)",
    "__anext__(self)": "return special(target, '__anext__')()",
    "__aenter__(self)": "return special(target, '__aenter__')()",
    "__aexit__(self, *error)": "return special(target, '__aexit__')(*error)",
    # Without it numpy takes a proxied number for an object of unknown type.
    "__array_ufunc__(self, ufunc, method, *inputs, **options)": (
        "return apply_ufunc(ufunc, method, inputs, options, bare)"
    ),
}

_TEMPLATE = """\
def {signature}:
    try:
        target = target_of(self)
    except AttributeError:
        pass
    else:
        {statement}
    target = resolved(self)
    {statement}
"""


def special_methods(
    target_of: Callable[[Any], Any],
    resolved: Callable[[Any], Any],
    assign: Callable[[Any, Any], None],
    bare: Callable[[Any], Any],
    present: Container[str] = frozenset(),
) -> dict[str, Callable[..., Any]]:
    """The methods by name, for an implementation to put on its type.

    Any: a proxy stands for an object of any type.

    Args:
        target_of: The target of a proxy; `AttributeError` while it is unresolved.
        resolved: Resolves a proxy and gives its target.
        assign: Makes its second argument the target of its first.
        bare: The target if the argument is a proxy, else the argument.
        present: Names that the type implements itself.
    """
    methods = {key: how for key, how in _table().items() if key.partition("(")[0] not in present}
    source = "".join(
        _TEMPLATE.format(signature=signature, statement=statement)
        for signature, statement in methods.items()
    )
    namespace: dict[str, Any] = {
        "__name__": "proxystore.proxy",
        "target_of": target_of,
        "resolved": resolved,
        "assign": assign,
        "bare": bare,
        "index": index,
        "view": view,
        "special": _special,
        "length_hint": _length_hint,
        "apply_ufunc": _apply_ufunc,
        "trunc": math.trunc,
        "floor": math.floor,
        "ceil": math.ceil,
        "fspath": os.fspath,
    }
    exec(compile(source, "<special methods of a proxy>", "exec"), namespace)  # noqa: S102
    return {name: namespace[name] for name in (key.partition("(")[0] for key in methods)}


def _table() -> dict[str, str]:
    table = {}
    for name, sign in _BINARY.items():
        table[f"__{name}__(self, other)"] = f"return target {sign} other"
        table[f"__r{name}__(self, other)"] = f"return other {sign} target"
        table[f"__i{name}__(self, other)"] = (
            f"target {sign}= bare(other); assign(self, target); return self"
        )
    for name, sign in _COMPARISONS.items():
        table[f"__{name}__(self, other)"] = f"return target {sign} other"
    if sys.version_info >= (3, 12):
        # A Python class can export a buffer only since PEP 688.
        table["__buffer__(self, flags)"] = "return view(target)"
    return table | _METHODS


def _special(target: Any, name: str) -> Any:
    if not hasattr(type(target), name):
        raise TypeError(f"The proxied {type(target).__qualname__!r} object has no {name}() method.")
    return getattr(target, name)


def index(target: Any) -> int:
    """`operator.index`, with an error that says what to do.

    Raises:
        TypeError: The target is no integer.
    """
    try:
        return operator.index(target)
    except TypeError:
        # Every proxy has __index__, and os.stat() and slicing ask for it first.
        raise TypeError(
            f"The proxied {type(target).__qualname__!r} object is not an integer. Where "
            f"a path or a slice is wanted, pass extract(proxy) in place of the proxy."
        ) from None


def view(target: Any) -> memoryview:
    """`memoryview`, with an error that says what to do.

    Raises:
        TypeError: The target exports no buffer.
    """
    try:
        return memoryview(target)
    except TypeError:
        # The type of every proxy can export one, and os.stat() asks for it before a path.
        raise TypeError(
            f"The proxied {type(target).__qualname__!r} object is not bytes-like. Where a path "
            f"is wanted, pass extract(proxy) in place of the proxy."
        ) from None


def _length_hint(target: Any) -> Any:
    # NotImplemented lets the caller's own default stand.
    hint = getattr(type(target), "__length_hint__", None)
    return NotImplemented if hint is None else hint(target)


def _apply_ufunc(
    ufunc: Any,
    method: str,
    inputs: tuple[Any, ...],
    options: dict[str, Any],
    bare: Callable[[Any], Any],
) -> Any:
    if "out" in options:
        options["out"] = tuple(bare(out) for out in options["out"])
    return getattr(ufunc, method)(*(bare(value) for value in inputs), **options)
