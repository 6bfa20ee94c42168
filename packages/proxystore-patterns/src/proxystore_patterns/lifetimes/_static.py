"""`StaticLifetime`: as long as the interpreter."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, Self

from proxystore.abc import Lifetime
from proxystore.errors import ProxyStoreError
from proxystore.host.forks import no_fork
from proxystore_patterns.lifetimes._base import EvictingLifetime

__all__ = ["StaticLifetime", "register_lifetime_atexit"]


class StaticLifetime(EvictingLifetime):
    """Ends when the interpreter does, and closes the stores of what it held then.

    There is one in a process, which every call gives. It has no store of its own:
    `add_key` needs one. Closed before, it stays so.
    """

    # Any: of this class, or of one that is derived from it.
    _the_one: ClassVar[Any] = None

    def __new__(cls) -> Self:
        # A lock that no fork leaves held.
        with no_fork():
            if StaticLifetime._the_one is None:
                made = super().__new__(cls)
                EvictingLifetime.__init__(made, name="static")
                register_lifetime_atexit(made)
                StaticLifetime._the_one = made
            the_one: Self = StaticLifetime._the_one
            return the_one

    def __init__(self) -> None:
        # What there is of it was made once, above.
        pass


def register_lifetime_atexit(
    lifetime: Lifetime,
    close_stores: bool = True,  # noqa: FBT001, FBT002 - as programs call it
) -> Callable[[], None]:
    """Let ``lifetime`` end when the interpreter does.

    Args:
        lifetime: Of any kind.
        close_stores: Close the stores of what it held then.

    Returns:
        What is called at exit, for `atexit.unregister`.
    """

    def end() -> None:
        # Nobody is left to tell; what stays is found as a leak.
        with suppress(ProxyStoreError):
            lifetime.close(close_stores=close_stores)

    atexit.register(end)
    return end
