from __future__ import annotations

import copy
import dataclasses
import sys
import weakref
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

import proxystore.proxy
from proxystore.factory import Factory, LambdaFactory, SimpleFactory
from proxystore.proxy import (
    Proxy,
    ProxyLocker,
    ProxyOr,
    ProxyReentryError,
    ProxyResolveError,
    extract,
    get_factory,
    is_resolved,
    resolve,
)


@dataclasses.dataclass
class Point:
    """A point."""

    x: int = 1
    y: int = 2


def test_the_published_type_says_where_it_is_published() -> None:
    assert Proxy.__module__ == "proxystore.proxy"
    assert Proxy.__name__ == "Proxy"
    assert (Proxy.__doc__ or "").startswith("Stands for")


@pytest.mark.parametrize("name", proxystore.proxy.__all__)
def test_each_published_name_is_there(name: str) -> None:
    assert hasattr(proxystore.proxy, name)


def test_a_factory_must_be_callable(proxy_type: type[Proxy]) -> None:
    with pytest.raises(TypeError, match=r"Factory must be callable\..*int"):
        proxy_type(3)


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((), {}, "factory"),
        ((), {"target": 1}, "factory"),
        ((list, 1), {}, "positional"),
        ((list,), {"other": 1}, "other"),
        ((list,), {"target": 1, "other": 1}, "other"),
        ((list,), {"factory": list}, "factory"),
    ],
)
def test_arguments_that_do_not_fit_are_named(
    proxy_type: type[Proxy], arguments: tuple[Any, ...], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        proxy_type(*arguments, **options)


def test_arguments_may_come_by_name(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(factory=list, cache_defaults=True, target="a")
    assert extract(proxy) == "a"
    assert proxy.__proxy_default_class__ is str


def test_the_factory_runs_at_the_first_use_and_once(proxy_type: type[Proxy]) -> None:
    calls: list[int] = []
    proxy = proxy_type(lambda: calls.append(1) or "target")
    assert calls == []
    assert proxy == "target"
    assert proxy.upper() == "TARGET"
    assert calls == [1]


def test_a_target_makes_the_proxy_resolved(proxy_type: type[Proxy]) -> None:
    target = Point()
    proxy = proxy_type(Point, target=target)
    assert is_resolved(proxy)
    assert extract(proxy) is target


def test_a_factory_may_give_none(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(lambda: None)
    assert extract(proxy) is None
    assert is_resolved(proxy)
    assert str(proxy) == "None"


def test_deleting_the_wrapped_object_makes_the_proxy_unresolved(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(list)
    proxy.append(1)
    del proxy.__proxy_wrapped__
    assert not is_resolved(proxy)
    del proxy.__proxy_wrapped__
    assert proxy == []


def test_setting_the_wrapped_object_resolves(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(list)
    proxy.__proxy_wrapped__ = (1,)
    assert extract(proxy) == (1,)


def test_the_target_slot_is_empty_while_unresolved(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(list)
    with pytest.raises(AttributeError):
        object.__getattribute__(proxy, "__proxy_target__")
    with pytest.raises(AttributeError):
        _ = proxy.__proxy_target__
    resolve(proxy)
    assert proxy.__proxy_target__ == []


def test_defaults_are_recorded_only_on_request_and_with_a_target(proxy_type: type[Proxy]) -> None:
    assert proxy_type(list, cache_defaults=True).__proxy_default_class__ is None
    assert proxy_type(list, target=[]).__proxy_default_class__ is None
    assert proxy_type(str, target="a", cache_defaults=True).__proxy_default_class__ is str
    assert proxy_type(str, target="a").__proxy_default_hash__ is None


def test_a_recorded_hash_is_used_while_unresolved(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(lambda: "b", target="a", cache_defaults=True)
    del proxy.__proxy_wrapped__
    assert hash(proxy) == hash("a")
    assert not is_resolved(proxy)
    resolve(proxy)
    assert hash(proxy) == hash("b")


def test_a_recorded_hash_error_is_raised_again_and_holds_no_target(
    proxy_type: type[Proxy],
) -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

    target = Unhashable()
    seen = weakref.ref(target)
    proxy = proxy_type(Unhashable, target=target, cache_defaults=True)
    del proxy.__proxy_wrapped__, target
    assert seen() is None
    with pytest.raises(TypeError, match="unhashable"):
        hash(proxy)


def test_a_target_that_is_a_proxy_is_resolved_through(proxy_type: type[Proxy]) -> None:
    inner = proxy_type(Point)
    assert type(extract(proxy_type(lambda: inner))) is Point
    assert type(extract(proxy_type(Point, target=inner))) is Point


def test_the_repr_of_a_proxy_shows_no_data(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(SimpleFactory("secret"))
    assert repr(proxy) == f"<ObjectProxy at {id(proxy):#x} with factory <SimpleFactory of str>>"
    resolve(proxy)
    assert "wrapping str at 0x" in repr(proxy)
    assert "secret" not in repr(proxy)


def test_attributes_are_those_of_the_target(proxy_type: type[Proxy]) -> None:
    target = Point()
    proxy = proxy_type(lambda: target)
    proxy.x = 5
    assert target.x == 5
    assert vars(proxy) == {"x": 5, "y": 2}
    assert proxy.__doc__ == "A point."
    assert proxy.__module__ == Point.__module__
    assert proxy.__class__ is Point
    del proxy.x
    assert "x" not in vars(target)
    with pytest.raises(AttributeError, match="'Point' object has no attribute 'z'"):
        _ = proxy.z


def test_special_names_that_the_target_lacks_are_absent(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(lambda: 3)
    assert hasattr(proxy, "__add__")
    assert not hasattr(proxy, "__len__")
    assert not hasattr(proxy, "__proxy_unknown__")


def test_a_proxied_class_is_a_class(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(lambda: Point)
    assert proxy.__name__ == "Point"
    assert proxy(3, 4) == Point(3, 4)
    assert isinstance(Point(), proxy)
    assert issubclass(Point, proxy)
    assert not isinstance(3, proxy)


def test_type_arguments_do_not_touch_the_target() -> None:
    proxy = Proxy[list](list)
    assert not is_resolved(proxy)
    assert ProxyOr[int] is not None


def test_a_weak_reference_is_to_the_proxy(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(Point)
    reference = weakref.ref(proxy)
    assert reference() is proxy
    assert not is_resolved(proxy)
    del proxy
    assert reference() is None


def test_size_is_that_of_the_proxy(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(Point)
    assert sys.getsizeof(proxy) > 0
    assert not is_resolved(proxy)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_is_an_unresolved_proxy(proxy_type: type[Proxy], copied: Any) -> None:
    # Fraction copies itself by methods of its own, which must not be asked.
    proxy = proxy_type(LambdaFactory(Fraction, 1, 2))
    resolve(proxy)
    duplicate = copied(proxy)
    assert isinstance(duplicate, Proxy)
    assert not is_resolved(duplicate)
    assert duplicate == Fraction(1, 2)


def test_a_shallow_copy_shares_the_factory(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(SimpleFactory([]))
    assert get_factory(copy.copy(proxy)) is get_factory(proxy)


def test_an_error_of_the_factory_is_the_cause_and_the_next_use_tries_again(
    proxy_type: type[Proxy],
) -> None:
    answers = [ValueError("no luck"), "target"]

    def factory() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    proxy = proxy_type(factory)
    with pytest.raises(ProxyResolveError, match="ValueError: no luck") as caught:
        len(proxy)
    assert isinstance(caught.value.cause, ValueError)
    assert caught.value.__cause__ is caught.value.cause
    # How the proxy found itself unresolved is nobody's business.
    assert caught.value.cause.__context__ is None
    assert not is_resolved(proxy)
    assert proxy == "target"


def test_hasattr_passes_on_an_error_of_the_factory(proxy_type: type[Proxy]) -> None:
    def factory() -> None:
        raise AttributeError("inside")

    with pytest.raises(ProxyResolveError, match="inside"):
        hasattr(proxy_type(factory), "anything")


def test_a_factory_can_raise_a_kind_of_resolve_error_of_its_own(proxy_type: type[Proxy]) -> None:
    class GoneError(ProxyResolveError):
        pass

    def factory() -> None:
        raise GoneError("gone for good")

    with pytest.raises(GoneError, match=r"^gone for good$"):
        proxy_type(factory).anything


def test_a_resolve_error_of_another_proxy_is_a_cause_like_any(proxy_type: type[Proxy]) -> None:
    def factory() -> None:
        raise ProxyResolveError("the inner one")

    told = "raised ProxyResolveError: the inner one"
    with pytest.raises(ProxyResolveError, match=told) as caught:
        proxy_type(factory).anything
    assert isinstance(caught.value.cause, ProxyResolveError)


def _passing(error: Exception) -> Factory[None]:
    class Passing(Factory[None]):
        passes_errors = True

        def resolve(self) -> None:
            raise error

    return Passing()


@pytest.mark.parametrize(
    "use",
    [lambda p: p.anything, lambda p: p + 1, len, bool, hash, iter, lambda p: p(), str, list],
    ids=["getattr", "add", "len", "bool", "hash", "iter", "call", "str", "list"],
)
def test_a_factory_can_have_its_errors_raised_as_themselves(
    proxy_type: type[Proxy], use: Callable[[object], object]
) -> None:
    error = ValueError("of the producer")
    with pytest.raises(ValueError, match=r"^of the producer$") as caught:
        use(proxy_type(_passing(error)))
    assert error is caught.value


@pytest.mark.parametrize("answer", [AttributeError, KeyError, StopIteration, TypeError])
def test_no_error_of_a_factory_is_taken_for_an_answer(
    proxy_type: type[Proxy], answer: type[Exception]
) -> None:
    proxy = proxy_type(_passing(answer("x")))
    for use in (lambda: hasattr(proxy, "anything"), lambda: list(proxy), lambda: 1 in proxy):
        with pytest.raises(ProxyResolveError) as caught:
            use()
        assert isinstance(caught.value.cause, answer)


def test_an_interrupt_in_the_factory_stays_an_interrupt(proxy_type: type[Proxy]) -> None:
    def factory() -> None:
        raise KeyboardInterrupt

    proxy = proxy_type(factory)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            resolve(proxy)


def test_a_factory_that_uses_its_own_proxy_is_an_error(proxy_type: type[Proxy]) -> None:
    proxies: list[Proxy[Any]] = []
    proxies.append(proxy_type(lambda: len(proxies[0])))
    with pytest.raises(ProxyReentryError, match="can never end"):
        resolve(proxies[0])


def test_a_factory_that_gives_its_own_proxy_is_an_error(proxy_type: type[Proxy]) -> None:
    proxies: list[Proxy[Any]] = []
    proxies.append(proxy_type(lambda: proxies[0]))
    with pytest.raises(ProxyReentryError):
        resolve(proxies[0])


@pytest.mark.parametrize("function", [resolve, extract, is_resolved, get_factory])
def test_functions_say_what_they_were_given_in_place_of_a_proxy(function: Any) -> None:
    with pytest.raises(TypeError, match="Expected a Proxy, found an object of type int"):
        function(3)


def test_a_locker_gives_back_the_same_proxy_and_hides_it(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(Point)
    locker = ProxyLocker(proxy)
    assert locker.unlock() is proxy
    with pytest.raises(AttributeError, match="Cannot access proxy attribute of a Locker"):
        _ = locker._proxy
    assert not is_resolved(proxy)
