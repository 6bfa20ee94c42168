"""What resolves a proxy, and what does not."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import inspect
import pickle
import pprint
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from proxystore.factory import LambdaFactory
from proxystore.proxy import PROBE_NAMES, Proxy, ProxyResolveError, is_resolved, resolve


class Shown:
    def _repr_html_(self) -> str:
        return "<b>shown</b>"


class Collected:
    def __dask_graph__(self) -> dict[str, object]:
        return {}


@dataclasses.dataclass
class Record:
    x: int = 0


class Unusable(Exception):
    pass


def _factory() -> object:
    raise Unusable


def _recorded(proxy_type: type[Proxy], target: object) -> Proxy[Any]:
    """Unresolved, of a recorded class, and failing if it is resolved."""
    proxy = proxy_type(_factory, target=target, cache_defaults=True)
    del proxy.__proxy_wrapped__
    return proxy


_WITHOUT_CLASS: dict[str, Callable[[Any], object]] = {
    "repr": repr,
    "type": type,
    "dir": dir,
    "isinstance of Proxy": lambda p: isinstance(p, type(p)),
    "callable": callable,
    "dataclasses.is_dataclass's attribute": lambda p: hasattr(p, "__dataclass_fields__"),
    "functools.wraps's attribute": lambda p: hasattr(p, "__wrapped__"),
    "_repr_html_": lambda p: hasattr(p, "_repr_html_"),
    "IPython's canary": lambda p: hasattr(p, "_ipython_canary_method_should_not_exist_"),
    "rich's canary": lambda p: hasattr(p, "awehflow aihwerhqaiouwerh qiwrhqoiuwehr"),
    "__rich_repr__": lambda p: hasattr(p, "__rich_repr__"),
    "dask's collections": lambda p: hasattr(p, "__dask_graph__"),
    "id": id,
}

_WITH_CLASS: dict[str, Callable[[Any], object]] = {
    **_WITHOUT_CLASS,
    "__class__": lambda p: p.__class__,
    "isinstance of its class": lambda p: isinstance(p, int),
    "isinstance of another": lambda p: isinstance(p, (list, str)),
    "dataclasses.is_dataclass": dataclasses.is_dataclass,
    "inspect.isawaitable": inspect.isawaitable,
    "inspect.unwrap": inspect.unwrap,
    "inspect.iscoroutine": inspect.iscoroutine,
    "inspect.iscoroutinefunction": inspect.iscoroutinefunction,
    "inspect.isfunction": inspect.isfunction,
    "inspect.isclass": inspect.isclass,
    "inspect.ismodule": inspect.ismodule,
    "asyncio.isfuture": asyncio.isfuture,
    "collections.abc": lambda p: isinstance(p, collections.abc.Mapping),
    "an absent special name": lambda p: hasattr(p, "__len__"),
    "__array_interface__": lambda p: hasattr(p, "__array_interface__"),
    "__fspath__": lambda p: hasattr(p, "__fspath__"),
    "pprint": pprint.pformat,
    "hash": hash,
    "pickle": pickle.dumps,
    "mock call": lambda p: mock.Mock()(p),
    "pytest's repr": lambda p: mock.call(p),
}


@pytest.mark.parametrize("name", _WITHOUT_CLASS)
def test_no_question_about_the_proxy_itself_resolves(proxy_type: type[Proxy], name: str) -> None:
    _WITHOUT_CLASS[name](proxy_type(_factory))


@pytest.mark.parametrize("name", _WITH_CLASS)
def test_with_a_recorded_class_no_question_about_it_resolves(
    proxy_type: type[Proxy], name: str
) -> None:
    _WITH_CLASS[name](_recorded(proxy_type, 7))


_USES: dict[str, Callable[[Any], object]] = {
    "hasattr": lambda p: hasattr(p, "real"),
    "str": str,
    "len": len,
    "bool": bool,
    "==": lambda p: p == 1,
    "+": lambda p: p + 1,
    "getattr": lambda p: p.real,
    "setattr": lambda p: setattr(p, "x", 1),
    "iter": iter,
    "present special name": lambda p: p.__add__,
}


@pytest.mark.parametrize("name", _USES)
def test_use_resolves(proxy_type: type[Proxy], name: str) -> None:
    with pytest.raises(ProxyResolveError) as caught:
        _USES[name](_recorded(proxy_type, 7))
    assert isinstance(caught.value.__cause__, Unusable)


@pytest.mark.parametrize("question", [hash, lambda p: isinstance(p, int)])
def test_without_a_recorded_class_its_questions_resolve(
    proxy_type: type[Proxy], question: Callable[[Any], object]
) -> None:
    proxy = proxy_type(lambda: 7)
    assert question(proxy)
    assert is_resolved(proxy)


@pytest.mark.parametrize("name", [name.replace("*", "x") for name in PROBE_NAMES])
def test_each_published_probe_is_absent_until_resolved(proxy_type: type[Proxy], name: str) -> None:
    proxy = proxy_type(mock.MagicMock, target=Record(), cache_defaults=name == "_fields")
    del proxy.__proxy_wrapped__
    assert not hasattr(proxy, name)
    assert not is_resolved(proxy)


def test_a_probe_that_the_recorded_class_has_resolves_and_forwards(
    proxy_type: type[Proxy],
) -> None:
    proxy = proxy_type(Collected, target=Collected(), cache_defaults=True)
    del proxy.__proxy_wrapped__
    assert proxy.__dask_graph__() == {}
    assert is_resolved(proxy)


def test_how_an_object_draws_itself_is_not_asked_of_its_recorded_class(
    proxy_type: type[Proxy],
) -> None:
    proxy = proxy_type(Shown, target=Shown(), cache_defaults=True)
    del proxy.__proxy_wrapped__
    assert not hasattr(proxy, "_repr_html_")
    assert not is_resolved(proxy)


def test_a_probe_forwards_once_resolved(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(Shown)
    resolve(proxy)
    assert proxy._repr_html_() == "<b>shown</b>"


def test_dataclass_fields_come_from_the_recorded_class(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(Record, target=Record(), cache_defaults=True)
    del proxy.__proxy_wrapped__
    assert [field.name for field in dataclasses.fields(proxy)] == ["x"]


def test_dir_is_that_of_the_recorded_class_then_of_the_target(proxy_type: type[Proxy]) -> None:
    assert dir(_recorded(proxy_type, 7)) == dir(int)
    assert "__proxy_factory__" in dir(proxy_type(_factory))
    resolved = proxy_type(Record, target=Record())
    assert "x" in dir(resolved)


def test_the_special_names_of_a_class_or_module_are_its_own(proxy_type: type[Proxy]) -> None:
    # `type` has no __len__ and `ModuleType` no __file__; these two objects have.
    proxy = proxy_type(lambda: list, target=list, cache_defaults=True)
    del proxy.__proxy_wrapped__
    assert hasattr(proxy, "__len__")
    proxy = proxy_type(lambda: pprint, target=pprint, cache_defaults=True)
    del proxy.__proxy_wrapped__
    assert hasattr(proxy, "__file__")


def test_rich_prints_an_unresolved_proxy_by_its_repr(proxy_type: type[Proxy]) -> None:
    pretty = pytest.importorskip("rich.pretty")
    proxy = _recorded(proxy_type, 7)
    assert pretty.pretty_repr(proxy, max_width=1000) == repr(proxy)


def test_the_error_for_a_probe_says_that_the_proxy_is_unresolved(proxy_type: type[Proxy]) -> None:
    with pytest.raises(AttributeError, match="unresolved proxy of int has no attribute '__len__'"):
        _ = _recorded(proxy_type, 7).__len__
    with contextlib.suppress(AttributeError):
        _ = proxy_type(LambdaFactory(int))._repr_html_
