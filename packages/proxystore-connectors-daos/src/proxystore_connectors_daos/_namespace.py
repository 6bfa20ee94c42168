"""A dictionary of a DAOS container, opened when it is needed, in each process anew."""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Protocol

from proxystore.errors import ConnectorUnavailableError, MediumFullError, MediumGoneError
from proxystore.host.forks import remake_in_child
from proxystore_connectors_daos._address import Address

__all__ = ["Namespace"]

_CLEAR_AT_ONCE = 1024


class _Dictionary(Protocol):
    """What is used of ``pydaos.DDict``."""

    # Their own names for their arguments differ between versions.
    def bput(self, values: dict[str, bytes | None], /) -> None: ...
    def bget(self, values: dict[str, bytes | None], nbytes: int, /) -> object: ...
    def __iter__(self) -> Iterator[str]: ...


# Handles that a forked child got from its parent. Never let go of: closing one
# there can close it for the parent (before DAOS 2.8).
_inherited: list[_Dictionary | None] = []


class Namespace:
    """The entries of one dictionary.

    pydaos holds the interpreter lock during each call: calls are atomic for
    threads of this process, and nothing can end one that does not return.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._dictionary: _Dictionary | None = None
        self._opening = threading.Lock()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        """Leave the parent's handle alone, and open another one on next use."""
        _inherited.append(self._dictionary)
        self._dictionary = None
        self._opening = threading.Lock()

    def create(self) -> bool:
        """Open the dictionary, made if there is none; whether this call made it.

        Of processes that ask at once, one makes it.

        Raises:
            ConnectorUnavailableError: pydaos is missing, or DAOS cannot be reached.
        """
        pydaos = self._pydaos()
        with self._errors(pydaos):
            container = pydaos.DCont(self._address.pool, self._address.container)
            name = self._address.namespace
            try:
                self._dictionary = container.get(name)
            except pydaos.DObjNotFound:
                pass
            else:
                return False
            try:
                self._dictionary = container.dict(name)
            except pydaos.PyDError:
                # Somebody else may have made it since.
                with contextlib.suppress(pydaos.DObjNotFound):
                    self._dictionary = container.get(name)
                    return False
                raise
            return True

    def write(self, entries: dict[str, bytes]) -> None:
        """Store all ``entries``, in parallel; returns when DAOS has them.

        Raises:
            MediumFullError: There is no room. Some may have been stored.
            ConnectorUnavailableError: DAOS cannot be reached, or the dictionary is gone.
        """
        pydaos, dictionary = self._open()
        with self._errors(pydaos, sum(map(len, entries.values()))):
            dictionary.bput({**entries})

    def remove(self, names: list[str]) -> None:
        """Remove entries; those that are not there are not missed.

        Raises:
            ConnectorUnavailableError: DAOS cannot be reached, or the dictionary is gone.
        """
        pydaos, dictionary = self._open()
        with self._errors(pydaos):
            dictionary.bput(dict.fromkeys(names))

    def read(self, names: list[str], nbytes: int) -> list[bytes | None]:
        """The values of ``names``, fetched in parallel; `None` for each that has none.

        Args:
            names: Which.
            nbytes: The most that a value has. A larger one costs a round trip more.

        Raises:
            ConnectorUnavailableError: DAOS cannot be reached, or the dictionary is gone.
        """
        pydaos, dictionary = self._open()
        values: dict[str, bytes | None] = dict.fromkeys(names)
        with self._errors(pydaos):
            dictionary.bget(values, nbytes)
        return [values[name] for name in names]

    def clear(self) -> None:
        """Remove every entry. The empty dictionary stays: pydaos cannot remove one.

        Raises:
            ConnectorUnavailableError: DAOS cannot be reached.
        """
        pydaos, dictionary = self._open()
        with self._errors(pydaos):
            names = list(dictionary)
        for start in range(0, len(names), _CLEAR_AT_ONCE):
            self.remove(names[start : start + _CLEAR_AT_ONCE])

    def release(self) -> None:
        """Let go of the dictionary. Idempotent."""
        self._dictionary = None

    def _open(self) -> tuple[ModuleType, _Dictionary]:
        pydaos, dictionary = self._pydaos(), self._dictionary
        if dictionary is None:
            with self._opening:
                dictionary = self._dictionary = self._dictionary or self._found(pydaos)
        return pydaos, dictionary

    def _found(self, pydaos: ModuleType) -> _Dictionary:
        with self._errors(pydaos):
            container = pydaos.DCont(self._address.pool, self._address.container)
            try:
                found: _Dictionary = container.get(self._address.namespace)
            except pydaos.DObjNotFound:
                raise MediumGoneError(
                    str(self._address),
                    "there is no such namespace",
                    "Make it with DAOSConnector(pool, container, namespace), or check the names.",
                ) from None
        return found

    def _pydaos(self) -> ModuleType:
        try:
            return importlib.import_module("pydaos")
        except ImportError as exc:
            raise ConnectorUnavailableError(
                str(self._address),
                f"Python module pydaos cannot be imported ({exc})",
                "It comes with the DAOS client packages of your site, for their Python: use that "
                "one, in a virtual environment with --system-site-packages.",
            ) from exc

    @contextlib.contextmanager
    def _errors(self, pydaos: ModuleType, nbytes: int = 0) -> Iterator[None]:
        try:
            yield
        except pydaos.PyDError as exc:
            if "DER_NOSPACE" in str(exc):
                advice = "Evict objects, close stores that are not used any more, or grow the pool."
                raise MediumFullError(str(self._address), nbytes, advice) from exc
            raise ConnectorUnavailableError(
                str(self._address),
                str(exc),
                "See that daos_agent runs on this host, that 'daos container query' finds the "
                "container, and that it is of type PYTHON.",
            ) from exc
