# pyright: basic, reportAssertTypeFailure=false
"""What the plugin adds: these types are exact to mypy, and `Any` to pyright.

A line marked as an error must be one: mypy reports the mark where it is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, assert_type

from proxystore.connectors.local import LocalConnector
from proxystore.proxy import Proxy, ProxyLocker, ProxyOr, extract, is_resolved, resolve
from proxystore.store import Store


@dataclass
class Point:
    x: int
    y: float

    def moved(self, by: int) -> Point:
        return Point(self.x + by, self.y)


def a_proxy_has_the_members_of_its_target(store: Store[LocalConnector]) -> None:
    proxy = store.proxy(Point(1, 2.0))
    assert_type(proxy.x, int)
    assert_type(proxy.moved(1), Point)
    assert_type(proxy.moved(by=1).y, float)
    assert_type(Proxy(lambda: "text").upper(), str)
    assert_type(store.proxy({"a": 1})["a"], int)
    assert_type(store.proxy([1, 2])[1:], list[int])
    assert_type(list(store.proxy([1])), list[int])
    assert_type(store.proxy(1) + 1, int)


def a_proxied_function_keeps_its_signature(function: Proxy[Callable[[int], str]]) -> None:
    assert_type(function(1), str)
    function("1")  # type: ignore[arg-type]


async def a_proxied_coroutine_keeps_its_result(answer: Proxy[Coroutine[Any, Any, int]]) -> None:
    assert_type(await answer, int)


def a_proxied_iterator_keeps_its_items(letters: Proxy[Iterator[str]]) -> None:
    assert_type(next(letters), str)


def what_the_target_lacks_is_an_error(store: Store[LocalConnector], point: Proxy[Point]) -> None:
    point.nothing()  # type: ignore[attr-defined]
    point.x = "1"  # type: ignore[assignment]
    len(point)  # type: ignore[arg-type]
    store.proxy([1]).upper()  # type: ignore[attr-defined]
    _ = store.proxy(1) + "1"  # type: ignore[operator]


def a_proxy_of_another_type_is_an_error(point: Proxy[Point], numbers: Proxy[list[int]]) -> None:
    def take(word: str) -> None: ...

    take(point)  # type: ignore[arg-type]
    take(numbers)  # type: ignore[arg-type]


def either(value: ProxyOr[str]) -> str:
    if isinstance(value, Proxy):
        assert is_resolved(value)
    return value


def a_locker_gives_what_it_took(locker: ProxyLocker[list[int]]) -> None:
    assert_type(locker.unlock(), list[int])
    assert_type(extract(locker.unlock()), list[int])


def a_proxy_of_anything(proxy: Proxy) -> None:
    resolve(proxy)
    proxy.whatever()
