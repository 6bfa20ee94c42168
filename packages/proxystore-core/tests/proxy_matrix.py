"""What people do with objects of common types, and where a proxy cannot take their place.

Loaded by the tests, which do all of it with proxies, and by ci/proxy_matrix.py, which writes
the documentation.
"""

from __future__ import annotations

import asyncio
import collections.abc
import contextlib
import copy
import dataclasses
import enum
import fractions
import functools
import importlib
import io
import json
import operator
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pydantic

from proxystore.proxy import json_default

__all__ = ["IMPOSSIBLE", "NEEDS_C", "TARGETS", "USES", "VARIES", "Impossible", "outcome"]


# --- Targets, by family: each call makes a new one ---


@dataclasses.dataclass(order=True)
class Point:
    x: int = 1
    y: float = 2.5


class Color(enum.Enum):
    RED = 1


class Base:
    def greet(self) -> str:
        return "hello"


async def _answer() -> int:
    await asyncio.sleep(0)
    return 42


class Model(pydantic.BaseModel):
    x: int = 1
    tags: list[str] = ["a"]


def _numpy(make: Callable[[Any], Any]) -> Callable[[], Any]:
    return lambda: make(importlib.import_module("numpy"))


def _frame(library: str, make: Callable[[Any], Any]) -> Callable[[], Any]:
    return lambda: make(importlib.import_module(library))


_COLUMNS = {"a": [3, 1, 2], "b": [0.5, 1.5, 2.5]}

TARGETS: dict[str, dict[str, Callable[[], Any]]] = {
    "Builtins": {
        "int": lambda: 1_000_003,
        "float": lambda: 2.567,
        "str": lambda: os.devnull,
        "bytes": lambda: b"banana",
        "list": lambda: [3, 1, 2],
        "tuple": lambda: (3, 1, 2),
        "dict": lambda: {"x": 1, "y": 2},
        "set": lambda: {1, 2},
        "range": lambda: range(3),
    },
    "Objects": {
        "path": lambda: Path(os.devnull),
        "fraction": lambda: fractions.Fraction(5, 2),
        "dataclass": Point,
        "enum": lambda: Color.RED,
        "pydantic": Model,
        "exception": lambda: ValueError("wrong"),
        "function": lambda: len,
        "class": lambda: Base,
        "generator": lambda: (n for n in (3, 1, 2)),
        "coroutine": lambda: _answer(),
        "context": lambda: contextlib.nullcontext("entered"),
    },
    "Arrays and frames": {
        "ndarray": _numpy(lambda np: np.array([3.0, 1.0, 2.0])),
        "numpy scalar": _numpy(lambda np: np.float64(2.567)),
        "pandas frame": _frame("pandas", lambda pd: pd.DataFrame(_COLUMNS)),
        "pandas series": _frame("pandas", lambda pd: pd.Series([3, 1, 2])),
        "polars frame": _frame("polars", lambda pl: pl.DataFrame(_COLUMNS)),
        "polars series": _frame("polars", lambda pl: pl.Series([3, 1, 2])),
        "arrow table": _frame("pyarrow", lambda pa: pa.table(_COLUMNS)),
        "arrow array": _frame("pyarrow", lambda pa: pa.array([3, 1, 2])),
        "torch tensor": _frame("torch", lambda torch: torch.tensor([3.0, 1.0, 2.0])),
    },
}


# --- Uses: what is done with a target, giving something to compare by its repr ---


def _matched(value: Any) -> str:
    match value:
        case {"x": x, **rest}:
            return f"mapping {x} {rest}"
        case [first, *rest]:
            return f"sequence {first} {rest}"
        case Point(x=1, y=y):
            return f"point {y}"
        case Color.RED:
            return "red"
        case str(text):
            return f"text {text!s}"
        case int() | float():
            return "number"
        case _:
            return "something"


_ABSTRACT: tuple[Any, ...] = (
    collections.abc.Sized, collections.abc.Iterable, collections.abc.Container,
    collections.abc.Callable, collections.abc.Iterator, collections.abc.Awaitable,
    collections.abc.Sequence, collections.abc.Mapping, collections.abc.Set,
    contextlib.AbstractContextManager, os.PathLike, Exception, enum.Enum,
)  # fmt: skip


def _kinds_of_class(value: Any) -> list[str]:
    return [cls.__name__ for cls in _ABSTRACT
            if issubclass(value.__class__, cls) and isinstance(value, cls)]


def _kinds(value: Any) -> list[str]:
    return [cls.__name__ for cls in _ABSTRACT if isinstance(value, cls)]


@functools.singledispatch
def _dispatched(value: object) -> str:
    return "object"


for _cls in (int, str, list, dict, Path, Point, Color, Exception):
    _dispatched.register(_cls, lambda value, name=_cls.__name__: name)


def _opened(value: Any) -> bytes:
    with open(value, "rb") as stream:
        return stream.read()


def _raised(value: Any) -> str:
    try:
        raise value
    except ValueError as error:
        return repr(error)


def _awaited(value: Any) -> Any:
    async def main() -> Any:
        return await value

    return asyncio.run(main())


def _entered(value: Any) -> Any:
    with value as entered:
        return entered


def _subclassed(value: Any) -> str:
    class Derived(value):
        pass

    return str(Derived().greet())


def _plotted(value: Any) -> list[Any]:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    (line,) = Figure().subplots().plot(value)
    return list(line.get_ydata())


def _library(name: str, call: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    return lambda value: call(importlib.import_module(name), value)


USES: dict[str, Callable[[Any], Any]] = {
    # Operators and builtins.
    "`v == v`": lambda v: bool(v == v) if not hasattr(v, "shape") else (v == v),
    "`v + v`": lambda v: v + v,
    "`v < v`": lambda v: v < v,
    "`hash(v)`": lambda v: hash(v) is not None,
    "`bool(v)`": bool,
    "`len(v)`": len,
    "`list(v)`": list,
    "`sorted(v)`": sorted,
    "`sum(v)`": sum,
    "`v[0]`": lambda v: v[0],
    "`[1, 2][v:]`": lambda v: [1, 2][v:],
    "`range(v)`": lambda v: range(v),
    "`round(v, 1)`": lambda v: round(v, 1),
    "`float(v)`": float,
    "`f'{v}'`": lambda v: f"{v}",
    "`f'{v:>9.1f}'`": lambda v: f"{v:>9.1f}",
    "`'%s' % v`": lambda v: "%s" % (v,),  # noqa: UP031
    "`memoryview(v)`": lambda v: bytes(memoryview(v)),
    "`isinstance(v, its class)`": lambda v: isinstance(v, v.__class__),
    "`isinstance(v, ABC)` of its class": _kinds_of_class,
    "`isinstance(v, ABC)` of no other": _kinds,
    "`match v`": _matched,
    "`v()`": lambda v: v("abc") if v.__class__ is not type else type(v()).__name__,
    "`with v`": _entered,
    "`await v`": _awaited,
    "`raise v`": _raised,
    "`class C(v)`": _subclassed,
    # The standard library.
    "`os.path.join(v, 'x')`": lambda v: os.path.join(v, "x"),
    "`os.path.exists(v)`": os.path.exists,
    "`open(v)`": _opened,
    "`Path(v)`": Path,
    "`re.search('a', v)`": lambda v: re.search(b"a" if isinstance(v, bytes) else "a", v),
    "`re.compile(v)`": re.compile,
    "`','.join([v])`": lambda v: ",".join([v]),  # noqa: FLY002
    "`io.StringIO(v)`": lambda v: io.StringIO(v).read(),
    "`io.BytesIO(v)`": lambda v: io.BytesIO(v).read(),
    "`json.dumps(v, default=json_default)`": lambda v: json.dumps([v], default=json_default),
    "`json.dumps({v: 1})`": lambda v: json.dumps({v: 1}),
    "`pickle`": lambda v: pickle.loads(pickle.dumps(v)),
    "`copy.copy(v)`": copy.copy,
    "`copy.deepcopy(v)`": copy.deepcopy,
    "`dataclasses.fields(v)`": lambda v: [field.name for field in dataclasses.fields(v)],
    "`dataclasses.asdict(v)`": dataclasses.asdict,
    "`dataclasses.replace(v)`": lambda v: dataclasses.replace(v, x=7),
    "`functools.reduce(f, v)`": lambda v: functools.reduce(operator.add, v),
    "`functools.partial(v)`": lambda v: functools.partial(v, "abc")(),
    "`functools.singledispatch`": _dispatched,
    "`functools.cache`": lambda v: functools.cache(repr)(v) is not None,
    # Others' libraries.
    "`np.sqrt(v)`": _library("numpy", lambda np, v: np.sqrt(v)),
    "`np.add(v, v)`": _library("numpy", lambda np, v: np.add(v, v)),
    "`np.asarray(v)`": _library("numpy", lambda np, v: np.asarray(v)),
    "`np.concatenate([v, v])`": _library("numpy", lambda np, v: np.concatenate([v, v])),
    "`pd.concat([v, v])`": _library("pandas", lambda pd, v: pd.concat([v, v])),
    "`pd.DataFrame(v)`": _library("pandas", lambda pd, v: pd.DataFrame(v)),
    "`pl.concat([v, v])`": _library("polars", lambda pl, v: pl.concat([v, v])),
    "`pl.DataFrame(v)`": _library("polars", lambda pl, v: pl.DataFrame(v)),
    "`pa.table(v)`": _library("pyarrow", lambda pa, v: pa.table(v)),
    "`pa.array(v)`": _library("pyarrow", lambda pa, v: pa.array(v)),
    "`pc.sum(v)`": _library("pyarrow.compute", lambda pc, v: pc.sum(v)),
    "`torch.sqrt(v)`": _library("torch", lambda torch, v: torch.sqrt(v)),
    "`torch.stack([v, v])`": _library("torch", lambda torch, v: torch.stack([v, v])),
    "`axes.plot(v)`": _plotted,
    "`model_dump()`": lambda v: v.model_dump(),
    "`TypeAdapter(...).validate_python(v)`": (
        lambda v: pydantic.TypeAdapter(v.__class__).validate_python(v)
    ),
}  # fmt: skip


def outcome(use: Callable[[Any], Any], value: Any) -> tuple[str, str]:
    """What came of it: ``("gives", repr)`` or ``("raises", "Type: message")``."""
    try:
        result = use(value)
        shown = repr(getattr(result, "__proxy_wrapped__", result))
        return "gives", re.sub(r"0x[0-9a-f]+", "0x", shown)
    except Exception as error:
        return "raises", f"{type(error).__name__}: {error}"


class Impossible(NamedTuple):
    """Where a proxy cannot take the place of its target, as no type but the target's can."""

    targets: frozenset[str]
    says: str
    """A part of the error; empty where Python gives something else without an error."""
    way_out: str


def _no(targets: str, says: str, way_out: str = "`extract(v)`") -> Impossible:
    return Impossible(frozenset(targets.split(", ")), says, way_out)


_EVERY = ", ".join(name for family in TARGETS.values() for name in family)

IMPOSSIBLE: dict[str, tuple[Impossible, ...]] = {
    "`isinstance(v, ABC)` of no other": (
        _no(_EVERY, "", "ask about `extract(v)`, or about the class that is meant"),
    ),
    "`raise v`": (_no("exception", "exceptions must derive from BaseException"),),
    "`re.search('a', v)`": (_no("str", "expected string or bytes-like object, got '", "`str(v)`"),),
    "`re.compile(v)`": (_no("str, bytes", "", "`str(v)`, `extract(v)`"),),
    "`','.join([v])`": (_no("str", "expected str instance, ", "`str(v)`"),),
    "`io.StringIO(v)`": (_no("str", "must be str or None, not ", "`str(v)`"),),
    "`json.dumps({v: 1})`": (_no("int, float, str, numpy scalar", "keys must be str, int, float"),),
    "`dataclasses.asdict(v)`": (_no("dataclass", "should be called on dataclass instances"),),
    "`dataclasses.replace(v)`": (_no("dataclass", "should be called on dataclass instances"),),
    "`np.asarray(v)`": (
        _no("int, float, str, bytes, dict, set, path, fraction, dataclass, enum, pydantic, "
            "exception, function, class, generator, coroutine, context", ""),
    ),
    "`pl.DataFrame(v)`": (
        _no("generator, torch tensor", "unsupported type 'ObjectProxy'"),
        _no("ndarray", ""),
    ),
    "`pa.array(v)`": (
        _no("dict, set, generator", "", "`list(v)`"),
        _no("ndarray", "not a NumPy array"),
    ),
    "`pc.sum(v)`": (
        _no("int, float, numpy scalar, arrow array", "Got unexpected argument type"),
        _no("ndarray", "not a NumPy array"),
    ),
    "`axes.plot(v)`": (
        _no("int, float, fraction", "does not support generators"),
        _no("str, bytes", ""),
    ),
    "`TypeAdapter(...).validate_python(v)`": (_no("str, bytes, enum", "Input should be "),),
}  # fmt: skip
"""By use. In all other cells the proxy gives what its target gives."""

VARIES: dict[str, frozenset[str]] = {
    "`os.path.exists(v)`": frozenset({"int", "bytes", "ndarray", "numpy scalar"}),
    "`pl.DataFrame(v)`": frozenset({"str", "bytes", "pandas frame", "arrow table"}),
    "`pc.sum(v)`": frozenset({"list", "tuple"}),
}
"""What depends on the version of Python or of the library."""

NEEDS_C: dict[str, frozenset[str]] = {
    "`memoryview(v)`": frozenset({"bytes", "ndarray", "numpy scalar"}),
    "`io.BytesIO(v)`": frozenset({"bytes", "ndarray", "numpy scalar"}),
    "`re.search('a', v)`": frozenset({"bytes"}),
}
"""What the pure-Python proxy cannot do before Python 3.12."""
