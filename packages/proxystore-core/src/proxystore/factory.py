"""Factories: picklable callables without arguments that produce an object."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

__all__ = ["Factory", "LambdaFactory", "SimpleFactory"]

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Factory(ABC, Generic[T_co]):
    """Produces the target of a proxy; subclasses say how in `resolve`.

    Any callable without arguments is a factory for a `Proxy`. This class is for
    those that carry state, which must pickle for the proxy to travel.
    """

    passes_errors: ClassVar[bool] = False
    """Whether what `resolve` raises reaches whoever used the proxy as itself.

    Else, and if it would mean something to the interpreter (such as that there is no such
    attribute, or that a loop is over), it is the cause of a `ProxyResolveError`.
    """

    @abstractmethod
    def resolve(self) -> T_co:
        """Produce the object. What it raises reaches whoever used the proxy."""

    def __call__(self) -> T_co:
        """The same as `resolve`."""
        return self.resolve()

    def facts(self) -> dict[str, object]:
        """What is known of the object without producing it, by name, for people to read.

        Notebooks show it. Must be quick, and ask nobody: the default knows nothing.
        """
        return {}


class SimpleFactory(Factory[T]):
    """Gives the object that it was made with, which travels inside each pickle."""

    def __init__(self, obj: T) -> None:
        self._obj = obj

    def resolve(self) -> T:
        """The object itself, not a copy."""
        return self._obj

    def __repr__(self) -> str:
        # The type only: an object may be gigabytes, or private.
        return f"<SimpleFactory of {type(self._obj).__qualname__}>"


class LambdaFactory(Factory[T]):
    """Calls ``target`` with fixed arguments each time it is resolved.

    Args:
        target: Any callable. It, and the arguments, must pickle to travel.
        *args: Passed to each call.
        **kwargs: Passed to each call.
    """

    def __init__(self, target: Callable[..., T], *args: Any, **kwargs: Any) -> None:
        # Any: the arguments of a callable of unknown signature.
        self._target, self._args, self._kwargs = target, args, kwargs

    def resolve(self) -> T:
        """What the call returns."""
        return self._target(*self._args, **self._kwargs)

    def __repr__(self) -> str:
        name = getattr(self._target, "__qualname__", type(self._target).__qualname__)
        return f"<LambdaFactory of {name}>"
