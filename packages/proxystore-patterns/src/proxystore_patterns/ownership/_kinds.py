"""The types of proxies that have to do with ownership.

None costs more to use than a `Proxy`: what must be asked of its claim first is asked by its
factory, and whatever ends or suspends the claim makes the proxy unresolved.
"""

from __future__ import annotations

import threading
import weakref
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from proxystore.errors import ObjectNotFoundError
from proxystore.factory import Factory
from proxystore.proxy import Proxy, ProxyResolveError, extract, get_factory, is_resolved
from proxystore_patterns.errors import ReferenceCopyError
from proxystore_patterns.ownership._claims import gone
from proxystore_patterns.ownership._estate import Estate
from proxystore_patterns.ownership._guard import Guarded


def is_a(obj: object, *kinds: type) -> bool:
    """Whether ``obj`` is a proxy of one of ``kinds``, without resolving one that is of another.

    `isinstance` asks a proxy of another kind for the class of its target.
    """
    return issubclass(type(obj), kinds)


if TYPE_CHECKING:
    from proxystore_patterns.ownership._static import (
        BaseRefProxy,
        OwnedProxy,
        RefMutProxy,
        RefProxy,
        SharedProxy,
    )
else:
    T = TypeVar("T")

    class _Referring:
        __slots__ = ()

        # Proxy completes each class that derives from it with every special method. The
        # classes here have only those of the variant that fits the target.
        def __init_subclass__(cls, **_: Any) -> None:
            return

        def __reduce__(self) -> tuple[Any, ...]:
            return get_factory(self).travel()

        def __copy__(self) -> NoReturn:
            raise ReferenceCopyError(type(self).__name__)

        def __deepcopy__(self, _: dict[int, Any]) -> NoReturn:
            raise ReferenceCopyError(type(self).__name__)

    class BaseRefProxy(_Referring, Proxy[T]):
        """A proxy under the rules of ownership. See `own`, `borrow`, `mut_borrow`, `share`."""

        __module__ = "proxystore_patterns.ownership"
        __slots__ = ()

    class OwnedProxy(BaseRefProxy[T]):
        """The only owner of an object, which goes when its owner does. See `own`."""

        __module__ = "proxystore_patterns.ownership"
        __slots__ = ()

    class RefProxy(BaseRefProxy[T]):
        """Reads what another owns. See `borrow`."""

        __module__ = "proxystore_patterns.ownership"
        __slots__ = ()

    class RefMutProxy(BaseRefProxy[T]):
        """Changes what another owns. See `mut_borrow`."""

        __module__ = "proxystore_patterns.ownership"
        __slots__ = ()

    class SharedProxy(BaseRefProxy[T]):
        """One of many owners; the object goes with the last of them. See `share`."""

        __module__ = "proxystore_patterns.ownership"
        __slots__ = ()


__all__ = [
    "BaseRefProxy",
    "Bound",
    "OwnedProxy",
    "RefMutProxy",
    "RefProxy",
    "SharedProxy",
    "make",
    "name_in_pickles",
    "weakly",
]

B = TypeVar("B", bound=BaseRefProxy[Any])


class Bound(Factory[Any]):
    """The factory of a proxy of these types: knows it, so that it can be made to ask again.

    What it knows changes under its lock, and after the proxy was suspended: a thread that is
    resolving it meanwhile has either been given the target, for which `suspend` waits, or
    finds what has changed.

    Any: targets are of any type.
    """

    is_over: Callable[[], bool] | None = None
    """Says whether the task is over that this borrow was given to."""
    _proxy: weakref.ref[Any] | None = None
    _has_given = False

    @property
    @abstractmethod
    def guard(self) -> Guarded:
        """Whose lock it is."""

    @property
    @abstractmethod
    def estate(self) -> Estate:
        """What the proxy stands for."""

    @abstractmethod
    def obtain(self) -> Any:
        """The target, if it may be used. The lock is held."""

    @abstractmethod
    def travel(self) -> tuple[Any, ...]:
        """What the proxy pickles to, as `object.__reduce__`."""

    @abstractmethod
    def drop(self) -> None:
        """Give up what the proxy is for."""

    def finish(self) -> None:
        """Give it up here and wherever it went by pickle: what it was for is over."""
        self.drop()

    def resolve(self) -> Any:
        """The target, if it may be used.

        Raises:
            BaseRefProxyError: It may not, or is gone.
        """
        # Whoever has the lock now need not wait for this thread.
        self._has_given = False
        with self.guard.lock:
            try:
                target = self.obtain()
            except ObjectNotFoundError as error:
                raise gone("proxy") from error
            self._has_given = True
            return target

    def bind(self, proxy: Any) -> None:
        """``proxy`` is the one that this factory serves."""
        self._proxy = weakref.ref(proxy)

    def peek(self) -> Any:
        """The target of the proxy, if it is resolved; else `None`."""
        proxy = None if self._proxy is None else self._proxy()
        return proxy.__proxy_target__ if proxy is not None and is_resolved(proxy) else None

    def suspend(self) -> Any:
        """Make the proxy ask this factory at its next use. Gives its target, or itself if none."""
        with self.guard.lock:
            proxy = None if self._proxy is None else self._proxy()
            if proxy is None or not (self._has_given or is_resolved(proxy)):
                return self
            try:
                # Another thread may have the target, and the proxy not yet.
                target = extract(proxy)
            except ProxyResolveError:
                return self
            del proxy.__proxy_wrapped__
            self._has_given = False
            return target

    def facts(self) -> dict[str, object]:
        """As those of the object."""
        return self.estate.factory.facts()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} over {self.estate.factory!r}>"


def name_in_pickles(function: Any) -> None:
    """Let pickles name ``function`` by the package, in whatever module it is."""
    function.__module__ = "proxystore_patterns.ownership"


def weakly(method: Callable[[], Any]) -> Callable[[], None]:
    """Calls ``method`` as long as its object lives, which it does not keep alive."""
    found = weakref.WeakMethod(method)

    def call() -> None:
        bound = found()
        if bound is not None:
            bound()

    return call


_kinds: dict[tuple[type, type], type] = {}
_making = threading.Lock()


def make(base: type[B], factory: Bound, plain: Proxy[Any], target: Any = None) -> B:
    """A proxy of type ``base`` that stands for what ``plain`` stands for.

    Args:
        base: One of the types of this module.
        factory: Its factory, bound to it here.
        plain: Of the object; gives the class on record and what fits it.
        target: Makes it resolved.
    """
    kind = _kind(base, type(plain))
    proxy = kind(factory, target=target)
    recorded = getattr(plain, "__proxy_recorded_class__", None)
    if recorded is not None:
        proxy.__proxy_recorded_class__ = recorded
    factory.bind(proxy)
    made: B = proxy
    return made


# Any: mypy cannot know the constructor of a class that is made here.
def _kind(base: type, variant: type) -> Any:
    try:
        return _kinds[base, variant]
    except KeyError:
        pass
    with _making:
        body = {"__slots__": (), "__module__": base.__module__, "__doc__": base.__doc__}
        return _kinds.setdefault((base, variant), type(base.__name__, (base, variant), body))
