"""The pure-Python `Proxy`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from proxystore.proxy._once import run_once
from proxystore.proxy._probes import is_absent
from proxystore.proxy._recorded import class_name, find_class
from proxystore.proxy._special import special_methods

__all__ = ["Proxy", "load"]

T = TypeVar("T")

# What belongs to the proxy. Every other name is the target's.
_OWN_NAMES = frozenset({
    "__proxy_default_class__",
    "__proxy_default_hash__",
    "__proxy_factory__",
    "__proxy_resolved__",
    "__proxy_target__",
    "__proxy_wrapped__",
    "__reduce__",
    "__reduce_ex__",
    # Absent on purpose: copy.deepcopy would copy the target, not the proxy.
    "__deepcopy__",
    # Absent on purpose: Proxy[int](...) would resolve to set it.
    "__orig_class__",
})


class Proxy(Generic[T]):
    """Stands for the object that ``factory`` produces, which it calls at the first use.

    Every use of the proxy but those listed here resolves it, and from then on
    it behaves as its target. Not resolving: `repr`, `type`, `dir`,
    ``isinstance(p, Proxy)``, pickling and copying, `sys.getsizeof`, weak
    references, the names in `PROBE_NAMES`; and, if the class of the target is
    recorded, `isinstance` and special names (``__x__``) that it lacks. A pickle
    holds the factory and the name of the recorded class, never the target.

    `callable` and ``isinstance(p, collections.abc.Sized)`` (``Awaitable``, ...)
    are true of each proxy, for they ask its type; ask them about ``extract(p)``.

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
    __slots__ = ("__proxy_factory__", "__proxy_target__", "__weakref__", "_class", "_hash")

    def __init__(
        self,
        factory: Callable[[], T],
        *,
        cache_defaults: bool = False,
        target: T | None = None,
    ) -> None:
        if not callable(factory):
            raise TypeError(
                f"Factory must be callable. Got a {type(factory).__qualname__}: wrap it in "
                f"SimpleFactory, or pass a function that gives it."
            )
        _set_factory(self, factory)
        if target is not None:
            _accept(self, target)
            if cache_defaults:
                _set_class(self, target.__class__)
                _set_hash(self, _hash_or_error(target))

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
        return _recorded_class(self)

    @property
    def __proxy_default_hash__(self) -> int | Exception | None:
        return _recorded_hash(self)

    def __reduce__(self) -> tuple[Any, ...]:  # Any: fixed by the pickle protocol.
        name = _recorded_name(self)
        return load, (_factory(self),) if name is None else (_factory(self), name)

    def __repr__(self) -> str:
        wrapping = ""
        if self.__proxy_resolved__:
            target = _target(self)
            # The type only: a target may be gigabytes, or private.
            wrapping = f"wrapping {type(target).__qualname__} at {id(target):#x} "
        return f"<{type(self).__name__} at {id(self):#x} {wrapping}with factory {_factory(self)!r}>"

    def __dir__(self) -> list[str]:
        if self.__proxy_resolved__:
            return dir(_target(self))
        return dir(_recorded_class(self) or Proxy)

    def __hash__(self) -> int:
        try:
            target = _target(self)
        except AttributeError:
            pass
        else:
            return hash(target)
        recorded = _recorded_hash(self)
        if isinstance(recorded, Exception):
            raise recorded
        return hash(_resolved(self)) if recorded is None else recorded

    # --- Attributes; Any, for they are the target's ---

    def __getattribute__(self, name: str) -> Any:
        if name in _OWN_NAMES:
            return object.__getattribute__(self, name)
        try:
            target = _target(self)
        except AttributeError:
            pass
        else:
            return getattr(target, name)
        return _unresolved_attribute(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN_NAMES:
            object.__setattr__(self, name, value)
        else:
            setattr(_resolved(self), name, value)

    def __delattr__(self, name: str) -> None:
        if name in _OWN_NAMES:
            object.__delattr__(self, name)
        else:
            delattr(_resolved(self), name)


# The slots are read and written past __getattribute__ and __setattr__, by the
# descriptors themselves: 55 ns less than object.__getattribute__(p, name) on each
# operation. Any: mypy does not know slots as descriptors.
_slots: dict[str, Any] = dict(vars(Proxy))
_factory, _set_factory = (_slots["__proxy_factory__"].__get__, _slots["__proxy_factory__"].__set__)
_target, _set_target = (_slots["__proxy_target__"].__get__, _slots["__proxy_target__"].__set__)
_class, _set_class = (_slots["_class"].__get__, _slots["_class"].__set__)
_hash, _set_hash = (_slots["_hash"].__get__, _slots["_hash"].__set__)
del _slots


def _is_resolved(proxy: Proxy[Any]) -> bool:
    try:
        _target(proxy)
    except AttributeError:
        return False
    return True


def _accept(proxy: Proxy[Any], target: Any) -> None:
    _set_target(proxy, _bare(target))


def _resolved(proxy: Proxy[Any]) -> Any:
    try:
        return _target(proxy)
    except AttributeError:
        # Left before the factory runs, or its errors would show this one as context.
        pass
    run_once(proxy, _factory(proxy), _is_resolved, _accept)
    return _target(proxy)


def _bare(value: Any) -> Any:
    return value.__proxy_wrapped__ if isinstance(value, Proxy) else value


def _unresolved_attribute(proxy: Proxy[Any], name: str) -> Any:
    recorded = _recorded_class(proxy)
    if name == "__class__" and recorded is not None:
        return recorded
    if is_absent(name, recorded):
        described = "of unknown class" if recorded is None else f"of {recorded.__qualname__}"
        raise AttributeError(
            f"An unresolved proxy {described} has no attribute {name!r}.", name=name, obj=proxy
        )
    return getattr(_resolved(proxy), name)


def _recorded_class(proxy: Proxy[Any]) -> type | None:
    try:
        recorded: type | str = _class(proxy)
    except AttributeError:
        return None
    return find_class(recorded) if isinstance(recorded, str) else recorded


def _recorded_name(proxy: Proxy[Any]) -> str | None:
    try:
        recorded: type | str = _class(proxy)
    except AttributeError:
        return None
    return recorded if isinstance(recorded, str) else class_name(recorded)


def _recorded_hash(proxy: Proxy[Any]) -> int | Exception | None:
    try:
        recorded: int | Exception = _hash(proxy)
    except AttributeError:
        return None
    return recorded


def _hash_or_error(target: object) -> int | Exception:
    try:
        return hash(target)
    except Exception as error:  # noqa: BLE001 - whatever a __hash__ raises is its answer.
        # The traceback holds frames, and these the target.
        return error.with_traceback(None)


for _name, _method in special_methods(_target, _resolved, _set_target, _bare).items():
    _method.__qualname__ = f"Proxy.{_name}"
    setattr(Proxy, _name, _method)


def load(
    factory: Callable[[], Any],
    class_name: str | None = None,
    variant: object = None,
) -> Proxy[Any]:
    """The unresolved proxy of a pickle. Imports nothing.

    Args:
        factory: The factory of the proxy.
        class_name: ``module.qualname`` of the recorded class.
        variant: Which of its types an implementation used; ignored by those with one.
    """
    proxy: Proxy[Any] = Proxy(factory)
    if class_name is not None:
        _set_class(proxy, class_name)
    return proxy


# The name in each pickle: short, and the same for every implementation.
load.__module__, load.__qualname__, load.__name__ = "proxystore.proxy", "_load", "_load"
