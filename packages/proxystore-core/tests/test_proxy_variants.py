"""Proxies whose type is made like their target's: sequences, mappings, strings and paths."""

from __future__ import annotations

import array
import collections
import collections.abc as cabc
import gc
import os
import pickle
import types
import weakref
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from proxystore.factory import LambdaFactory, SimpleFactory
from proxystore.proxy import Proxy, _load, extract, is_resolved, resolve
from proxystore.proxy._variants import KNOWN, Variant, variant_of


class CalledSequence(list[int]):
    def __call__(self) -> int:
        return len(self)


class Owned(Proxy[Any]):
    pass


class Text(str):
    __slots__ = ()


VARIANTS = {
    Variant.SEQUENCE: [[1], (1,), range(1), collections.deque([1]), array.array("i", [1]),
                       memoryview(b"a"), collections.UserList([1])],
    Variant.MAPPING: [{}, collections.OrderedDict(), collections.defaultdict(int),
                      types.MappingProxyType({}), collections.UserDict()],
    Variant.PATH: ["a", Path("a"), PurePosixPath("a"), Text("a")],
    Variant.ARRAY: [CalledSequence([1])],
    Variant.OBJECT: [1, 1.5, b"a", bytearray(b"a"), {1}, None, object(), len, int],
}  # fmt: skip
TARGETS = [(target, variant) for variant, targets in VARIANTS.items() for target in targets]


def _unresolved(proxy_type: type[Proxy], target: object) -> Proxy[Any]:
    proxy = proxy_type(SimpleFactory(target), target=target, cache_defaults=True)
    del proxy.__proxy_wrapped__
    return proxy


def _shape(value: object) -> str:
    match value:
        case {**_entries}:
            return "mapping"
        case [*_items]:
            return "sequence"
        case _:
            return "neither"


@pytest.mark.parametrize(("target", "variant"), TARGETS, ids=repr)
def test_the_class_of_the_target_decides(target: object, variant: Variant) -> None:
    assert variant_of(type(target)) is variant


@pytest.mark.parametrize("target", [t for t, variant in TARGETS if variant], ids=repr)
def test_match_takes_a_proxy_for_its_target(proxy_type: type[Proxy], target: object) -> None:
    assert _shape(_unresolved(proxy_type, target)) == _shape(target)


def test_match_binds_items_and_entries(proxy_type: type[Proxy]) -> None:
    match _unresolved(proxy_type, [1, (2, 3)]):
        case [first, [second, _]]:
            assert (first, second) == (1, 2)
        case _:
            pytest.fail("no sequence")
    match _unresolved(proxy_type, {"a": 1, "b": 2}):
        case {"a": one, **rest}:
            assert (one, rest) == (1, {"b": 2})
        case _:
            pytest.fail("no mapping")


def test_a_pattern_of_another_shape_does_not_resolve(proxy_type: type[Proxy]) -> None:
    proxy = _unresolved(proxy_type, [1])
    match proxy:
        case {"a": _} | str() | int():
            pytest.fail("no list")
    assert not is_resolved(proxy)


@pytest.mark.parametrize("make", [str, Path])
def test_functions_of_os_take_a_proxy_for_a_path(
    proxy_type: type[Proxy], make: Any, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("text", encoding="ascii")
    proxy = _unresolved(proxy_type, make(file))
    assert os.path.exists(proxy)
    assert os.stat(proxy) == os.stat(file)
    assert os.listdir(_unresolved(proxy_type, make(tmp_path))) == ["file"]
    assert os.path.join(_unresolved(proxy_type, make(tmp_path)), "file") == str(file)
    with open(proxy, encoding="ascii") as stream:
        assert stream.read() == "text"
    assert not os.path.exists(_unresolved(proxy_type, make(tmp_path / "nothing")))


@pytest.mark.parametrize(("target", "variant"), TARGETS, ids=repr)
def test_every_variant_is_a_proxy(
    proxy_type: type[Proxy], target: object, variant: Variant
) -> None:
    proxy = _unresolved(proxy_type, target)
    assert isinstance(proxy, proxy_type)
    assert type(proxy).__base__ is proxy_type
    # A metaclass that answered for Proxy would cost more than all the rest of isinstance().
    assert type(proxy_type) is type
    assert not is_resolved(proxy)


def test_what_is_no_proxy_is_none() -> None:
    assert not isinstance([], Proxy)
    assert not issubclass(list, Proxy)
    assert not isinstance(Proxy(list), Owned)


@pytest.mark.parametrize("target", [[1], {}, "a", Path("a")], ids=repr)
@pytest.mark.parametrize(
    "abstract", [cabc.Callable, cabc.Iterator, cabc.Awaitable, cabc.AsyncIterable]
)
def test_a_variant_is_of_no_abstract_class_that_its_target_is_not(
    proxy_type: type[Proxy], target: object, abstract: Any
) -> None:
    proxy = _unresolved(proxy_type, target)
    assert not isinstance(proxy, abstract)
    assert not callable(proxy)
    assert not is_resolved(proxy)


@pytest.mark.parametrize("target", [[1], {"a": 1}, "a", PurePosixPath("a"), 1], ids=repr)
def test_the_variant_travels_in_the_pickle(proxy_type: type[Proxy], target: object) -> None:
    proxy = _unresolved(proxy_type, target)
    loaded = pickle.loads(pickle.dumps(proxy))
    assert type(loaded).__name__ == type(proxy).__name__
    assert not is_resolved(loaded)
    assert loaded == target


def test_the_variant_is_known_where_the_class_is_not() -> None:
    proxy = _load(SimpleFactory([1]), "no_such_module.List", int(Variant.SEQUENCE))
    assert not is_resolved(proxy)
    assert _shape(proxy) == "sequence"


@pytest.mark.parametrize("variant", [0, 99])
def test_a_variant_of_a_later_version_is_ignored(variant: int) -> None:
    assert extract(_load(SimpleFactory(3), "builtins.int", variant)) == 3


def test_resolving_fits_the_type_to_a_class_that_was_not_known(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(LambdaFactory(list, "ab"))
    assert _shape(proxy) == "neither"
    resolve(proxy)
    assert _shape(proxy) == "sequence"


def test_a_target_of_another_class_than_was_recorded_is_used_as_what_it_is(
    proxy_type: type[Proxy],
) -> None:
    proxy = proxy_type(lambda: 1, target=[1], cache_defaults=True)
    del proxy.__proxy_wrapped__
    resolve(proxy)
    assert "ab"[proxy] == "b"
    assert _shape(proxy) == "neither"
    proxy.__proxy_wrapped__ = {"a": 1}
    assert _shape(proxy) == "mapping"


def test_an_in_place_operator_fits_the_type_to_its_result(proxy_type: type[Proxy]) -> None:
    class Counter:
        def __iadd__(self, other: object) -> list[object]:
            return [other]

    proxy = proxy_type(Counter)
    proxy += 1
    assert _shape(proxy) == "sequence"
    assert not callable(proxy)


def test_a_class_that_was_asked_for_is_not_held(proxy_type: type[Proxy]) -> None:
    cls = type("Passing", (), {})
    seen, key = weakref.ref(cls), id(cls)
    resolve(proxy_type(cls))
    assert key in KNOWN
    del cls
    gc.collect()
    assert seen() is None
    assert key not in KNOWN


def test_a_class_that_is_not_hashable_has_a_variant_too(proxy_type: type[Proxy]) -> None:
    class Meta(type):
        __hash__ = None  # type: ignore[assignment]

    cls = Meta("Unhashable", (list,), {})
    assert _shape(proxy_type(SimpleFactory(cls()), target=cls())) == "sequence"


def test_a_sequence_keeps_what_other_sequences_lack(proxy_type: type[Proxy]) -> None:
    assert _unresolved(proxy_type, CalledSequence([1, 2]))() == 2


def test_a_subclass_of_proxy_keeps_its_type(proxy_type: type[Proxy]) -> None:
    proxy = type("Mine", (proxy_type,), {})(list)
    resolve(proxy)
    assert type(proxy).__name__ == "Mine"
    assert isinstance(proxy, proxy_type)
    assert proxy == []


def test_a_subclass_of_proxy_may_stand_for_anything(proxy_type: type[Proxy]) -> None:
    class Mine(proxy_type):
        def __index__(self) -> int:
            return 1

    assert Mine(lambda: len)([1, 2]) == 2
    assert next(Mine(lambda: iter("ab"))) == "a"
    assert "ab"[Mine(list)] == "b"
    assert os.fspath(Mine(lambda: "a")) == "a"
