"""Which serializer dumps a type, and which one loads an identifier."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from proxystore.errors import SerializationError, UnknownSerializerError
from proxystore.serialize._builtin import (
    CLOUDPICKLE,
    PICKLE,
    BytearraySerializer,
    BytesSerializer,
    MemoryviewSerializer,
    StrSerializer,
)
from proxystore.serialize._contract import Serializer

__all__ = [
    "SAFE_SERIALIZERS",
    "Registry",
    "register_serializer",
    "registry",
    "serializers",
    "unregister_serializer",
]

_ENTRY_POINTS = "proxystore.serializers"
_MAX_IDENTIFIER = 64


class _Deferred(NamedTuple):
    """A serializer whose module is imported when it is first needed."""

    load: Callable[[], object]


def _ours(module: str, name: str) -> _Deferred:
    return _Deferred(lambda: getattr(import_module(f"proxystore.serialize.{module}"), name))


# (identifier, qualified name of the type) -> what handles it.
_DEFERRED_BUILTINS = {
    ("numpy.ndarray", "numpy.ndarray"): _ours("_numpy", "NdarraySerializer"),
    ("polars.DataFrame", "polars.dataframe.frame.DataFrame"): _ours(
        "_polars", "DataFrameSerializer"
    ),
    ("pyarrow.Table", "pyarrow.lib.Table"): _ours("_arrow", "TableSerializer"),
    ("torch.Tensor", "torch.Tensor"): _ours("_torch", "TensorSerializer"),
}
_BUILTINS: tuple[Serializer, ...] = (
    BytesSerializer(),
    BytearraySerializer(),
    MemoryviewSerializer(),
    StrSerializer(),
    PICKLE,
    CLOUDPICKLE,
)

# Not polars.DataFrame: the Arrow reader of polars 2.1 trusts what it reads, and
# a changed length ends the process (SIGSEGV within 3,000 random changes).
SAFE_SERIALIZERS: frozenset[str] = frozenset({
    "bytes",
    "bytearray",
    "memoryview",
    "str",
    "numpy.ndarray",
    "pyarrow.Table",
    "torch.Tensor",
})
"""Identifiers whose objects may come from a stranger: loading one cannot run code
from it, nor reach memory outside it."""


def qualified_name(cls: type) -> str:
    """``module.qualname`` of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


class Registry:
    """A set of serializers. Look-ups of what was used before take no lock."""

    def __init__(self) -> None:
        self._renew_lock()
        self._loaded: dict[str, Serializer] = {}
        self._deferred: dict[str, _Deferred] = {}
        self._identifier_of: dict[str, str] = {}
        self._types: dict[type, Serializer] = {}
        self._scanned = False
        for serializer in _BUILTINS:
            self.register(serializer)
        for (identifier, type_name), deferred in _DEFERRED_BUILTINS.items():
            self._deferred[identifier] = deferred
            self._identifier_of[type_name] = identifier

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()

    def for_type(self, cls: type) -> Serializer | None:
        """The serializer of exactly this type, or `None` if pickle is the one."""
        serializer = self._types.get(cls)
        if serializer is not None:
            return serializer
        name = qualified_name(cls)
        if name not in self._identifier_of:
            if self._scanned or cls.__module__ == "builtins":
                return None
            self._scan()
        with self._lock:
            identifier = self._identifier_of.get(name)
            if identifier is None:
                return None
            serializer = self._types[cls] = self.for_identifier(identifier)
            return serializer

    def for_identifier(self, identifier: str) -> Serializer:
        """The serializer that wrote objects with this identifier.

        Raises:
            UnknownSerializerError: This process has none.
            SerializationError: It has, but its module cannot be imported.
        """
        serializer = self._loaded.get(identifier)
        if serializer is not None:
            return serializer
        if identifier not in self._deferred:
            self._scan()
        with self._lock:
            deferred = self._deferred.get(identifier)
            if deferred is None:
                raise UnknownSerializerError(identifier, self.identifiers())
            serializer = self._loaded.get(identifier) or _made(identifier, deferred)
            self._loaded[identifier] = serializer
            return serializer

    def register(self, serializer: Serializer, *, exist_ok: bool = False) -> None:
        """As `register_serializer`."""
        identifier = serializer.identifier
        if not (0 < len(identifier) <= _MAX_IDENTIFIER and _is_plain(identifier)):
            raise SerializationError(
                f"{identifier!r} cannot identify a serializer: use 1 to {_MAX_IDENTIFIER} "
                f"printable ASCII characters without spaces."
            )
        names = [t if isinstance(t, str) else qualified_name(t) for t in serializer.types]
        with self._lock:
            if not exist_ok:
                self._check_free(identifier, names)
            self._forget(identifier)
            self._loaded[identifier] = serializer
            self._identifier_of.update(dict.fromkeys(names, identifier))

    def unregister(self, identifier: str) -> None:
        """As `unregister_serializer`."""
        with self._lock:
            if identifier not in self._loaded and identifier not in self._deferred:
                raise UnknownSerializerError(identifier, self.identifiers())
            self._forget(identifier)

    def identifiers(self) -> tuple[str, ...]:
        """As `serializers`."""
        self._scan()
        return tuple(sorted({*self._loaded, *self._deferred}))

    def _check_free(self, identifier: str, type_names: list[str]) -> None:
        taken = [f"type {name}" for name in type_names if name in self._identifier_of]
        if identifier in self._loaded or identifier in self._deferred:
            taken.append(f"identifier {identifier!r}")
        if taken:
            raise SerializationError(
                f"Cannot register serializer {identifier!r}: {' and '.join(taken)} already "
                f"has one. Register with exist_ok=True to take its place."
            )

    def _forget(self, identifier: str) -> None:
        self._loaded.pop(identifier, None)
        self._deferred.pop(identifier, None)
        for name in [name for name, owner in self._identifier_of.items() if owner == identifier]:
            del self._identifier_of[name]
        self._types.clear()

    def _scan(self) -> None:
        """Learn the installed serializers. What is registered already stands."""
        with self._lock:
            if self._scanned:
                return
            # 33 ms, so not before somebody needs it.
            from importlib.metadata import entry_points

            for point in entry_points(group=_ENTRY_POINTS):
                if point.name not in self._loaded and point.name not in self._deferred:
                    self._deferred[point.name] = _Deferred(point.load)
                    self._identifier_of.setdefault(point.name, point.name)
            self._scanned = True


def _made(identifier: str, deferred: _Deferred) -> Serializer:
    try:
        found = deferred.load()
        serializer = found() if isinstance(found, type) else found
    except ImportError as exc:
        raise SerializationError(
            f"Serializer {identifier!r} cannot be used in this process: {exc}. Install the "
            f"library whose objects it handles."
        ) from exc
    # An entry point may lead to anybody's code, so anything may come out of it.
    except Exception as exc:
        raise SerializationError(
            f"The entry point {identifier!r} of group {_ENTRY_POINTS!r} cannot be loaded "
            f"({type(exc).__name__}: {exc}). Report it to the package it came from."
        ) from exc
    if not isinstance(serializer, Serializer) or serializer.identifier != identifier:
        raise SerializationError(
            f"The entry point {identifier!r} of group {_ENTRY_POINTS!r} gives {found!r}, which "
            f"is not a Serializer with that identifier. Report it to the package it came from."
        )
    return serializer


def _is_plain(identifier: str) -> bool:
    return identifier.isascii() and identifier.isprintable() and " " not in identifier


registry = Registry()
# A fork while another thread registers would leave the lock taken in the child.
os.register_at_fork(after_in_child=registry._renew_lock)


def register_serializer(serializer: Serializer, *, exist_ok: bool = False) -> None:
    """Let `serialize` and `deserialize` use ``serializer`` in this process.

    An installed package does the same for every process with an entry point in
    the group ``proxystore.serializers``, named after the type's qualified name,
    which is also the identifier. Safe to call from several threads.

    Args:
        serializer: Kept, and called from several threads at once.
        exist_ok: Take the place of those that have its identifier or types.

    Raises:
        SerializationError: The identifier or one of the types is taken, or the
            identifier has other than 1 to 64 printable ASCII characters.
    """
    registry.register(serializer, exist_ok=exist_ok)


def unregister_serializer(identifier: str) -> None:
    """Forget a serializer; its types go to pickle, its objects cannot be read.

    Raises:
        UnknownSerializerError: There is none of that identifier.
    """
    registry.unregister(identifier)


def serializers() -> tuple[str, ...]:
    """Identifiers of every serializer of this process, sorted; imports none of them.

    The first call scans the installed packages (some 40 ms).
    """
    return registry.identifiers()
