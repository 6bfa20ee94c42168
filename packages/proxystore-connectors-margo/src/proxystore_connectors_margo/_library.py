"""The Python binding of Margo, as far as it is used here."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

from proxystore.errors import ConnectorUnavailableError

__all__ = ["Library"]

# The name that it has now, and the older one.
_NAMES = ("mochi.margo", "pymargo")


class Library(NamedTuple):
    """The parts of ``mochi.margo``. It comes without types, so that all are `Any`."""

    engine: Any
    client: Any
    server: Any
    read_only: Any
    write_only: Any
    read_write: Any
    pull: Any
    push: Any
    error: type[Exception]

    @classmethod
    def load(cls, needed_by: str) -> Library:
        """Import it.

        Raises:
            ConnectorUnavailableError: It is not installed, or cannot be loaded.
        """
        failures: list[ImportError] = []
        for name in _NAMES:
            try:
                core = importlib.import_module(f"{name}.core")
                bulk = importlib.import_module(f"{name}.bulk")
            except ImportError as exc:
                failures.append(exc)
                continue
            return cls(
                *(core.Engine, core.client, core.server),
                *(bulk.read_only, bulk.write_only, bulk.read_write, bulk.pull, bulk.push),
                core.MargoException,
            )
        raise ConnectorUnavailableError(
            needed_by,
            _explained(failures),
            "It is on no package index: run 'spack install py-mochi-margo' and load it, with the "
            "Python that it was built for, or use ZMQConnector.",
        ) from failures[0]


def _explained(failures: list[ImportError]) -> str:
    for failure in failures:
        # One that is there and broken is what the user has to mend, whatever its name.
        if not isinstance(failure, ModuleNotFoundError):
            return f"Python module mochi.margo cannot be loaded ({failure})"
    return "Python module mochi.margo is not installed"
