"""What modules say whose library comes with an extra that is not installed."""

from __future__ import annotations

from types import TracebackType

from proxystore_patterns.errors import ExtraNotInstalledError

__all__ = ["Extra"]


class Extra:
    """A block of imports that need an extra.

    Args:
        name: Of the extra.
        module: Its library, as it is imported.

    Raises:
        ExtraNotInstalledError: At the end of the block: the library is missing.
    """

    def __init__(self, name: str, module: str) -> None:
        self._name, self._module = name, module

    def __enter__(self) -> None:
        """Nothing is checked before."""

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        missing = exc.name if isinstance(exc, ModuleNotFoundError) else None
        if missing is not None and missing.partition(".")[0] == self._module:
            raise ExtraNotInstalledError(self._name, self._module) from exc
