"""Connectors: each moves bytes to and from one medium.

``from proxystore.connectors import RedisConnector`` works for every connector
of this family whose distribution is installed, and says what to install
otherwise. Connectors of others are imported from their own packages.
"""

from __future__ import annotations

import importlib
from importlib import util
from typing import Any

from proxystore.connectors._catalog import BUILT_IN, SEPARATE, Entry
from proxystore.errors import ConnectorNotInstalledError, did_you_mean

_ENTRIES = {entry.class_name: entry for entry in (*BUILT_IN, *SEPARATE)}

# `__init__.pyi`, made from the same table by ci/front_door.py, names them for type checkers.
__all__ = list(_ENTRIES)


# Any: a class that is absent must not be called "not callable" by type checkers.
def __getattr__(name: str) -> Any:
    entry = _ENTRIES.get(name)
    if entry is None:
        hint = "" if name.startswith("_") else did_you_mean(name, _ENTRIES)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{hint}")
    if not _is_installed(entry):
        installed = tuple(entry.class_name for entry in _ENTRIES.values() if _is_installed(entry))
        raise ConnectorNotInstalledError(name, entry.distribution, installed)
    found = getattr(importlib.import_module(entry.module), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_ENTRIES})


def _is_installed(entry: Entry) -> bool:
    return entry in BUILT_IN or util.find_spec(entry.module) is not None
