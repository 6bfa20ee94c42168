"""Results on their way to who submitted, and what they are there."""

from __future__ import annotations

import itertools
import weakref
from typing import Any, NamedTuple

from proxystore.proxy import Proxy
from proxystore_patterns.executors._policy import replace
from proxystore_patterns.ownership import into_owned

__all__ = ["Homing", "Landing", "Marked", "User"]


# Any in this module: results of every type.
class Marked(NamedTuple):
    """A result, and those proxies in it that were made for it."""

    result: Any
    made: list[Proxy[Any]]
    depth: int
    """How far down they may be."""


class User:
    """Of a store: an executor that is not shut down, a task that runs, or results."""

    def __init__(self) -> None:
        self.number = next(_numbers)
        _users[self.number] = self


_numbers = itertools.count()
_users: weakref.WeakValueDictionary[int, User] = weakref.WeakValueDictionary()
# Whose results went by store. Nobody knows where those are by now: moved, cloned, copied.
_with_results: set[User] = set()


class Landing(NamedTuple):
    """What who submitted makes of results. Pickles, but is good in one process."""

    owned: bool
    """Own the proxies that were made for them. Otherwise they stay what they are."""
    user: int
    """The number of the `User` that they keep until the exit of the interpreter."""

    def landed(self, result: Any) -> Any:
        """What who submitted gets."""
        if type(result) is not Marked:
            return result
        made = {id(proxy): proxy for proxy in result.made}

        def visit(value: Any) -> Any:
            proxy: Proxy[Any] | None = made.get(id(value))
            return value if proxy is None else self._given(proxy)

        return replace(result.result, result.depth, visit)

    def _given(self, proxy: Proxy[Any]) -> Proxy[Any]:
        user = _users.get(self.user)
        if user is not None:
            _with_results.add(user)
        return into_owned(proxy) if self.owned else proxy


class Homing(NamedTuple):
    """A result that lands by being unpickled, which must happen once."""

    marked: Marked
    landing: Landing

    def __reduce__(self) -> tuple[Any, ...]:
        return _landed, (self.landing, self.marked)


def _landed(landing: Landing, marked: Marked) -> Any:
    return landing.landed(marked)
