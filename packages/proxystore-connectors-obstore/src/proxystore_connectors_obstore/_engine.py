"""The library, and the copy of it that a forked child needs.

obstore runs its requests on threads of its own, which a forked child does not have: a request
there waits for ever. Nothing in the library makes them anew, so a child loads its extension
module a second time, from a copy in memory, for the loader takes one file for one module. That
costs some 15 ms and 15 MB in each child that uses a connector, and nothing elsewhere.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import os
import sys
import threading
from types import ModuleType
from typing import Any

from proxystore.errors import ConnectorUnavailableError
from proxystore.host.forks import remake_in_child

__all__ = ["abandon", "library"]

_PACKAGE = "obstore"
_EXTENSION = "obstore._obstore"


class _Engine:
    """The one of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._module: ModuleType | None = None
        self._is_stale = False
        remake_in_child(self)

    def remade_in_child(self) -> None:
        self._lock = threading.Lock()
        abandon(self._module)
        self._module = None
        self._is_stale = _EXTENSION in sys.modules

    def module(self) -> ModuleType:
        with self._lock:
            if self._module is None:
                self._module = _copied() if self._is_stale else _imported()
            return self._module


def abandon(thing: object) -> None:
    """Keep ``thing`` for the life of this process, which may only be a forked child.

    To let go of a client is to tell the threads that drive its connections, under a lock that
    one of them may have held when the process forked: the child would wait for it for ever.
    Not even the end of the interpreter may do that, hence the reference that nobody gives back.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


# Any: a module, of which a child has a copy with classes of its own.
def library() -> Any:
    """`obstore`, fit for use in this process. Thread safe.

    Raises:
        ConnectorUnavailableError: A forked child cannot have a copy on this platform.
    """
    return _engine.module()


_engine = _Engine()


def _imported() -> ModuleType:
    import obstore

    return obstore


def _copied() -> ModuleType:
    """A second `obstore`, which shares nothing with the one that is imported."""
    own = {name: sys.modules[name] for name in list(sys.modules) if _is_of_package(name)}
    source = own[_EXTENSION].__file__
    for name in own:
        del sys.modules[name]
    try:
        sys.modules[_EXTENSION] = _loaded_again(str(source))
        return _imported()
    finally:
        # Whoever imported the first one goes on with it.
        for name in [name for name in sys.modules if _is_of_package(name)]:
            del sys.modules[name]
        sys.modules.update(own)


def _is_of_package(name: str) -> bool:
    return name == _PACKAGE or name.startswith(f"{_PACKAGE}.")


def _loaded_again(source: str) -> ModuleType:
    if not hasattr(os, "memfd_create"):
        raise ConnectorUnavailableError(
            "object stores in a forked process",
            "obstore's threads are not in it, and this platform cannot load it twice",
            "Start processes with the methods 'spawn' or 'forkserver' of multiprocessing.",
        )
    copy = os.memfd_create(_PACKAGE)
    try:
        with open(source, "rb") as file:
            while os.sendfile(copy, file.fileno(), None, 1 << 30):
                pass
        path = f"/proc/self/fd/{copy}"
        loader = importlib.machinery.ExtensionFileLoader(_EXTENSION, path)
        spec = importlib.util.spec_from_file_location(_EXTENSION, path, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        return module
    finally:
        os.close(copy)
