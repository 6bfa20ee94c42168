"""What Python and other libraries ask of a proxy by name, the same in each implementation.

An implementation puts these on its types and answers their names itself, whatever the target
has. None needs to be quick.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["HOOKS"]


# Any in this module: proxies and targets of every type, and the arguments of any function.
def _repr_mimebundle_(self: Any, **_: Any) -> dict[str, str]:
    # Imported here: only notebooks ask for it.
    from proxystore.proxy._card import card

    return card(self)


def _ipython_display_(self: Any) -> None:
    from proxystore.proxy._card import display_card

    display_card(self)


def __mro_entries__(self: Any, bases: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: N807
    # Makes a class statement use the proxied class as the base.
    target = self.__proxy_wrapped__
    if isinstance(target, type):
        return (target,)
    if not hasattr(target, "__mro_entries__"):
        raise TypeError(
            f"A proxy of an object of type {type(target).__qualname__} was given as the base of "
            f"a class. Only a class, or the proxy of one, can be a base."
        )
    entries: tuple[Any, ...] = target.__mro_entries__(bases)
    return entries


def __torch_function__(  # noqa: N807
    function: Callable[..., Any],
    _types: Sequence[type],
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
) -> Any:
    # torch hands over each call with a proxy among its arguments, in containers too.
    return function(*_bare(args), **_bare(kwargs or {}))


def _bare(value: Any) -> Any:
    # By the attribute of its type, for the two implementations do not know each other.
    if hasattr(type(value), "__proxy_wrapped__"):
        return value.__proxy_wrapped__
    if type(value) in {list, tuple}:
        return type(value)(_bare(item) for item in value)
    if type(value) is dict:
        return {key: _bare(item) for key, item in value.items()}
    return value


HOOKS: dict[str, Any] = {
    "_ipython_display_": _ipython_display_,
    "_repr_mimebundle_": _repr_mimebundle_,
    "__mro_entries__": __mro_entries__,
    "__torch_function__": staticmethod(__torch_function__),
}
"""By name, as an implementation sets them on its types."""
