"""What Python, json and torch ask of a proxy by name."""

from __future__ import annotations

import json
from typing import Any, Generic, TypeVar

import pytest

from proxystore.factory import SimpleFactory
from proxystore.proxy import Proxy, ProxyResolveError, json_default

T = TypeVar("T")


class Base:
    def greet(self) -> str:
        return "hello"


class Shelf(Generic[T]):
    pass


def _fail() -> object:
    raise ValueError("no luck")


def test_a_class_derives_from_the_proxied_class(proxy_type: type[Proxy]) -> None:
    proxy: Any = proxy_type(lambda: Base)

    class Derived(proxy):
        pass

    assert Derived.__mro__ == (Derived, Base, object)
    assert Derived().greet() == "hello"


def test_a_class_derives_from_a_proxied_generic(proxy_type: type[Proxy]) -> None:
    proxy: Any = proxy_type(lambda: Shelf[int])

    class Derived(proxy):
        pass

    assert issubclass(Derived, Shelf)


def test_what_is_no_class_is_no_base(proxy_type: type[Proxy]) -> None:
    proxy: Any = proxy_type(lambda: 3)
    with pytest.raises(TypeError, match="proxy of an object of type int was given as the base"):

        class Derived(proxy):
            pass


def test_json_writes_proxies_wherever_they_are_values(proxy_type: type[Proxy]) -> None:
    def proxy(target: object) -> Proxy[Any]:
        return proxy_type(SimpleFactory(target), target=target, cache_defaults=True)

    nested = proxy({"a": [proxy("text"), proxy(1.5), proxy((1, proxy([])))]})
    assert json.dumps(nested, default=json_default) == '{"a": ["text", 1.5, [1, []]]}'


def test_json_says_what_it_cannot_write(proxy_type: type[Proxy]) -> None:
    with pytest.raises(TypeError, match=r"Neither a proxy nor .* type set"):
        json.dumps([{1}], default=json_default)
    with pytest.raises(TypeError, match=r"Neither a proxy nor .* type set"):
        json.dumps(proxy_type(lambda: {1}), default=json_default)


def test_json_passes_on_an_error_of_the_factory(proxy_type: type[Proxy]) -> None:
    with pytest.raises(ProxyResolveError, match="no luck"):
        json.dumps(proxy_type(_fail), default=json_default)


def test_functions_of_torch_take_proxies_in_containers_and_keywords(
    proxy_type: type[Proxy],
) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.tensor([1.0, 2.0])
    proxy = proxy_type(lambda: tensor)
    assert torch.equal(torch.stack([proxy, tensor]), torch.stack([tensor, tensor]))
    assert torch.equal(torch.add(tensor, other=proxy), tensor + tensor)
    assert torch.nn.functional.relu(proxy).tolist() == [1.0, 2.0]
    assert torch.matmul(proxy, proxy_type(lambda: tensor)).item() == 5.0
