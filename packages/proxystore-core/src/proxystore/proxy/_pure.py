"""The pure-Python `Proxy`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from proxystore.proxy import _answers
from proxystore.proxy._answers import OWN_METHODS, OWN_NAMES
from proxystore.proxy._once import run_once
from proxystore.proxy._special import special_methods
from proxystore.proxy._variants import Variant, equip

__all__ = ["Proxy"]

T = TypeVar("T")


class Proxy(Generic[T]):
    """Stands for the object that ``factory`` produces, which it calls at the first use.

    Every use of the proxy but those listed here resolves it, and from then on
    it behaves as its target. Not resolving: `repr`, `type`, `dir`,
    ``isinstance(p, Proxy)``, pickling and copying, `sys.getsizeof`, weak
    references, the names in `PROBE_NAMES`; and, if the class of the target is
    recorded, `isinstance` and special names (``__x__``) that it lacks. A pickle
    holds the factory and the name of the recorded class, never the target.

    A proxy of a sequence, mapping, string or path has a type of its own, made so that
    `match` and `os.path` take it for its target: from the start if the class of the
    target is recorded, else once it is resolved. The type of every proxy derives from
    this one, so ask ``isinstance(p, Proxy)``, never ``type(p) is Proxy``. `callable` and
    ``isinstance(p, collections.abc.Sized)`` (``Awaitable``, ...) are true of each proxy
    of another object, for they ask its type; ask them about ``extract(p)``.

    The factory runs once however many threads use the proxy. If it raises, the
    proxy stays unresolved, and the next use tries again. In a child forked
    meanwhile, the next use starts anew. The target itself is as safe to share
    between threads as it is without a proxy.

    Attributes:
        __proxy_factory__: The factory.
        __proxy_resolved__: Whether the target is here.
        __proxy_wrapped__: The target, resolving if need be. Setting it resolves the
            proxy to that object; deleting it makes the proxy unresolved again.
        __proxy_target__: The target; `AttributeError` while unresolved.
        __proxy_default_class__: The recorded class, or `None`.
        __proxy_default_hash__: The recorded hash, the `Exception` that hashing
            raised, or `None`. Used only while unresolved.

    Args:
        factory: Callable without arguments. Must pickle if the proxy shall.
        cache_defaults: Record the class and hash of ``target``.
        target: Makes the proxy resolved from the start; `None` is no target.

    Raises:
        TypeError: ``factory`` is not callable.
        ProxyResolveError: At any later use: the factory raised.
        ProxyReentryError: At any later use: the factory used this proxy.
    """

    __module__ = "proxystore.proxy"
    __slots__ = (
        "__proxy_factory__",
        "__proxy_recorded_class__",
        "__proxy_target__",
        "__weakref__",
        "_hash",
    )

    def __init__(
        self,
        factory: Callable[[], T],
        *,
        cache_defaults: bool = False,
        target: T | None = None,
    ) -> None:
        if not callable(factory):
            raise _answers.factory_error(factory)
        _set_factory(self, factory)
        if target is None:
            if type(self) is Proxy:
                _set_type(self, ObjectProxy)
        else:
            _accept(self, target)
            if cache_defaults:
                _set_class(self, target.__class__)
                _set_hash(self, _answers.hash_or_error(target))

    # --- What is the proxy's own ---

    @property
    def __proxy_resolved__(self) -> bool:
        return _is_resolved(self)

    @property
    def __proxy_wrapped__(self) -> T:
        target: T = _resolved(self)
        return target

    @__proxy_wrapped__.setter
    def __proxy_wrapped__(self, target: T) -> None:
        _accept(self, target)

    @__proxy_wrapped__.deleter
    def __proxy_wrapped__(self) -> None:
        if self.__proxy_resolved__:
            object.__delattr__(self, "__proxy_target__")

    @property
    def __proxy_default_class__(self) -> type | None:
        return _answers.default_class(self)

    @property
    def __proxy_default_hash__(self) -> int | Exception | None:
        return _recorded_hash(self)

    def __hash__(self) -> int:
        try:
            target = _target(self)
        except AttributeError:
            pass
        else:
            return hash(target)
        return _answers.unresolved_hash(self)

    # --- Attributes; Any, for they are the target's ---

    def __getattribute__(self, name: str) -> Any:
        if name in OWN_NAMES:
            return object.__getattribute__(self, name)
        try:
            target = _target(self)
        except AttributeError:
            pass
        else:
            return getattr(target, name)
        return _answers.unresolved_attribute(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in OWN_NAMES:
            object.__setattr__(self, name, value)
        else:
            setattr(_resolved(self), name, value)

    def __delattr__(self, name: str) -> None:
        if name in OWN_NAMES:
            object.__delattr__(self, name)
        else:
            delattr(_resolved(self), name)


# The slots are read and written past __getattribute__ and __setattr__, by the
# descriptors themselves: 55 ns less than object.__getattribute__(p, name) on each
# operation. Any: mypy does not know slots as descriptors.
_slots: dict[str, Any] = dict(vars(Proxy))
_factory, _set_factory = (_slots["__proxy_factory__"].__get__, _slots["__proxy_factory__"].__set__)
_target, _set_target = (_slots["__proxy_target__"].__get__, _slots["__proxy_target__"].__set__)
_set_class = _slots["__proxy_recorded_class__"].__set__
_hash, _set_hash = (_slots["_hash"].__get__, _slots["_hash"].__set__)
del _slots
_set_type: Any = vars(object)["__class__"].__set__


def _is_resolved(proxy: Proxy[Any]) -> bool:
    try:
        _target(proxy)
    except AttributeError:
        return False
    return True


def _accept(proxy: Proxy[Any], target: Any) -> None:
    target = _bare(target)
    _answers.fit_target(proxy, target)
    _set_target(proxy, target)


def _resolved(proxy: Proxy[Any]) -> Any:
    while True:
        try:
            return _target(proxy)
        except AttributeError:
            # Left before the factory runs, or its errors would show this one as context.
            pass
        # Again after that, for another thread may make it unresolved.
        run_once(proxy, _factory(proxy), _is_resolved, _accept)


def _bare(value: Any) -> Any:
    return value.__proxy_wrapped__ if isinstance(value, Proxy) else value


def _recorded_hash(proxy: Proxy[Any]) -> int | Exception | None:
    try:
        recorded: int | Exception = _hash(proxy)
    except AttributeError:
        return None
    return recorded


class ObjectProxy(Proxy[T]):
    """A `Proxy` that has every special method."""

    __module__ = "proxystore.proxy"
    __slots__ = ()


class SequenceProxy(Proxy[T]):
    """A `Proxy` that matches sequence patterns."""

    __module__ = "proxystore.proxy"
    __slots__ = ()


class MappingProxy(Proxy[T]):
    """A `Proxy` that matches mapping patterns."""

    __module__ = "proxystore.proxy"
    __slots__ = ()


class PathLikeProxy(Proxy[T]):
    """A `Proxy` of a string or path, which functions of `os` take for one."""

    __module__ = "proxystore.proxy"
    __slots__ = ()


class ArrayProxy(Proxy[T]):
    """A `Proxy` that matches sequence patterns and has every special method."""

    __module__ = "proxystore.proxy"
    __slots__ = ()


_methods = special_methods(_target, _resolved, _accept, _bare)
for _name, _method in _methods.items():
    _method.__qualname__ = f"Proxy.{_name}"
equip(
    Proxy,
    {
        Variant.OBJECT: ObjectProxy,
        Variant.SEQUENCE: SequenceProxy,
        Variant.MAPPING: MappingProxy,
        Variant.PATH: PathLikeProxy,
        Variant.ARRAY: ArrayProxy,
    },
    _methods | OWN_METHODS,
)
