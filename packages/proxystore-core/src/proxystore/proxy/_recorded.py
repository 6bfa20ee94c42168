"""The class of a target, recorded by name, found again without an import."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["class_name", "find_class"]


def find_class(name: str) -> type | None:
    """The class that ``name`` (``module.qualname``) denotes here, if it is loaded.

    Imports nothing and runs no code of the modules it looks into. Costs about 1 us.
    """
    path: list[str] = []
    rest = name
    while rest:
        rest, _, last = rest.rpartition(".")
        path.insert(0, last)
        module = sys.modules.get(rest)
        if module is not None:
            return _named_class(module, path, name)
    return None


def _named_class(module: object, path: list[str], name: str) -> type | None:
    found: Any = module  # Any: whatever stands in a module's namespace.
    for part in path:
        try:
            # Not getattr: a lazy module would load itself, a module
            # __getattr__ would import.
            found = object.__getattribute__(found, "__dict__")[part]
        except (AttributeError, KeyError):
            return None
    if isinstance(found, type) and _qualified(found) == name:
        return found
    return None


def class_name(cls: type) -> str | None:
    """The name under which another process can find ``cls``, or `None`.

    `None` for local classes, for names that denote another object, and for
    ``__main__``, which is another module in each process.
    """
    if cls.__module__ == "__main__":
        return None
    name = _qualified(cls)
    return name if find_class(name) is cls else None


def _qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
