from __future__ import annotations

import collections
import datetime as dt
import operator
import pickle
import subprocess
import sys
from fractions import Fraction
from typing import Any

import cloudpickle
import pytest

from proxystore.factory import LambdaFactory, SimpleFactory
from proxystore.proxy import Proxy, ProxyLocker, _load, extract, get_factory, is_resolved
from proxystore.proxy._recorded import class_name, find_class

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)

_factory = operator.methodcaller("__len__")


def _recorded(proxy_type: type[Proxy], target: object) -> Proxy[Any]:
    proxy = proxy_type(SimpleFactory(target), target=target, cache_defaults=True)
    del proxy.__proxy_wrapped__
    return proxy


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_holds_the_factory_and_not_the_target(
    proxy_type: type[Proxy], protocol: int
) -> None:
    proxy = proxy_type(LambdaFactory(str.upper, "small"), target="x" * 10_000)
    data = pickle.dumps(proxy, protocol)
    assert len(data) < 300
    loaded = pickle.loads(data)
    assert isinstance(loaded, Proxy)
    assert not is_resolved(loaded)
    assert loaded == "SMALL"


@pytest.mark.parametrize("pickler", [pickle, cloudpickle])
def test_pickling_does_not_resolve(proxy_type: type[Proxy], pickler: Any) -> None:
    proxy = _recorded(proxy_type, 7)
    pickler.dumps(proxy)
    assert not is_resolved(proxy)


@pytest.mark.parametrize("target", [7, [1], Fraction(1, 2), collections.OrderedDict()])
def test_the_proxy_adds_at_most_53_bytes_and_the_name_of_the_class(
    proxy_type: type[Proxy], target: object
) -> None:
    proxy = _recorded(proxy_type, target)
    cls = type(target)
    name = f"{cls.__module__}.{cls.__qualname__}"
    # Without its own PROTO, FRAME and STOP, which the whole has once.
    factory_nbytes = len(pickle.dumps(get_factory(proxy), 4)) - 12
    assert len(pickle.dumps(proxy, 4)) - factory_nbytes <= 53 + len(name)


def test_the_recorded_class_survives_a_pickle(proxy_type: type[Proxy]) -> None:
    loaded = pickle.loads(pickle.dumps(_recorded(proxy_type, Fraction(1, 2))))
    assert loaded.__proxy_default_class__ is Fraction
    assert isinstance(loaded, Fraction)
    assert not is_resolved(loaded)
    again = pickle.loads(pickle.dumps(loaded))
    assert isinstance(again, Fraction)
    assert not is_resolved(again)


def test_a_recorded_hash_stays_in_its_process(proxy_type: type[Proxy]) -> None:
    loaded = pickle.loads(pickle.dumps(_recorded(proxy_type, "a")))
    assert loaded.__proxy_default_hash__ is None
    assert hash(loaded) == hash("a")
    assert is_resolved(loaded)


def test_a_local_class_is_not_recorded_in_a_pickle(proxy_type: type[Proxy]) -> None:
    class Local:
        pass

    proxy = proxy_type(_factory, target=Local(), cache_defaults=True)
    assert pickle.loads(pickle.dumps(proxy)).__proxy_default_class__ is None


@pytest.mark.slow
def test_unpickling_imports_nothing_of_the_target(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(_factory, target=Fraction(1), cache_defaults=True)
    code = f"""
import pickle, sys
import proxystore.proxy
before = set(sys.modules)
p = pickle.loads({pickle.dumps(proxy)!r})
repr(p), dir(p), hasattr(p, "_repr_html_"), type(p)
print(sorted(set(sys.modules) - before - {{"operator", "_operator"}}))
"""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.stdout == "[]\n", found.stderr


def test_a_class_that_is_not_loaded_is_resolved_for() -> None:
    proxy = _load(SimpleFactory(3), "no_such_module.Thing")
    assert proxy.__proxy_default_class__ is None
    assert isinstance(proxy, int)
    assert is_resolved(proxy)


def test_a_variant_of_another_implementation_is_accepted() -> None:
    assert extract(_load(SimpleFactory(3), None, 1)) == 3


def test_unpickling_does_not_call_the_factory(proxy_type: type[Proxy]) -> None:
    loaded = pickle.loads(pickle.dumps(proxy_type(LambdaFactory(operator.truediv, 1, 0))))
    assert not is_resolved(loaded)


def test_a_locker_pickles_and_resolves_nothing(proxy_type: type[Proxy]) -> None:
    proxy = _recorded(proxy_type, 7)
    loaded = pickle.loads(pickle.dumps(ProxyLocker(proxy)))
    assert not is_resolved(loaded.unlock())
    assert loaded.unlock() == 7


@pytest.mark.parametrize("cls", [int, Fraction, collections.OrderedDict, dt.datetime])
def test_a_class_is_found_by_its_name(cls: type) -> None:
    name = class_name(cls)
    assert name is not None
    assert find_class(name) is cls


class Outer:
    class Inner:
        pass


def test_a_nested_class_is_found_by_its_name() -> None:
    name = class_name(Outer.Inner)
    assert name is None or find_class(name) is Outer.Inner


@pytest.mark.parametrize(
    "name",
    [
        "",
        "int",
        ".",
        "os.path.join",
        "os.nothing",
        "sys.modules",
        "nothing.at.all",
        "proxystore.proxy._pure.Proxy",
    ],
)
def test_a_name_of_no_class_finds_none(name: str) -> None:
    assert find_class(name) is None


def test_a_class_whose_name_means_another_is_not_named() -> None:
    impostor = type("Fraction", (), {"__module__": "fractions"})
    assert class_name(impostor) is None
