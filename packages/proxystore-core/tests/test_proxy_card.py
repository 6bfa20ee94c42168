"""What a notebook shows of a proxy."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from proxystore.connectors.local import LocalConnector
from proxystore.factory import Factory, SimpleFactory
from proxystore.proxy import Proxy, _load, extract, is_resolved, resolve
from proxystore.store import Store


def _unusable() -> object:
    raise AssertionError("resolved")


class Drawn:
    def _repr_html_(self) -> str:
        return "<b>drawn</b>"

    def _repr_png_(self) -> bytes:
        return b"png"

    _repr_latex_ = _repr_svg_ = _repr_json_ = _repr_html_


class Told(Factory[int]):
    def resolve(self) -> int:
        raise AssertionError("resolved")

    def facts(self) -> dict[str, object]:
        return {"made of": "<script>"}


class Refusing:
    @property
    def shape(self) -> object:
        raise RuntimeError("no shape")


@pytest.fixture(scope="module", autouse=True)
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A running IPython that leaves nothing behind."""
    config = Config()
    config.HistoryManager.enabled = False
    folder = str(tmp_path_factory.mktemp("ipython"))
    InteractiveShell.instance(config=config, ipython_dir=folder)
    yield
    InteractiveShell.clear_instance()


def _shown(proxy: Any) -> dict[str, str]:
    """What a notebook shows of the value of a cell."""
    shell = InteractiveShell.instance()
    shell.user_ns["proxy"] = proxy
    with capture_output(stderr=False) as captured:
        shell.run_cell("proxy").raise_error()
    (output,) = captured.outputs
    data: dict[str, str] = output.data
    return data


def _unresolved(proxy_type: type[Proxy], target: object) -> Proxy[Any]:
    proxy = proxy_type(_unusable, target=target, cache_defaults=True)
    del proxy.__proxy_wrapped__
    return proxy


@pytest.mark.parametrize("target", [3, "text", [1], {"a": 1}, np.zeros(3), Drawn()], ids=type)
def test_a_notebook_shows_a_card_and_resolves_nothing(
    proxy_type: type[Proxy], target: object
) -> None:
    proxy = _unresolved(proxy_type, target)
    shown = _shown(proxy)
    assert set(shown) == {"text/html", "text/plain"}
    assert type(target).__name__ in shown["text/html"]
    assert "not resolved" in shown["text/html"]
    assert shown["text/plain"] == repr(proxy)
    assert not is_resolved(proxy)


def test_the_card_of_a_resolved_proxy_says_so_and_gives_its_measures(
    proxy_type: type[Proxy],
) -> None:
    html = _shown(proxy_type(_unusable, target=np.zeros((3, 4), "f4")))["text/html"]
    for fact in ("numpy.ndarray", "(3, 4)", "float32", "48 bytes", ">resolved<"):
        assert fact in html


@pytest.mark.parametrize(
    ("target", "size"), [(b"abc", "3 bytes"), ("abcd", "4 items"), ([1] * 1000, "1,000 items")]
)
def test_the_size_of_a_builtin_is_shown(
    proxy_type: type[Proxy], target: object, size: str
) -> None:
    assert size in _shown(proxy_type(_unusable, target=target))["text/html"]


def test_what_a_target_refuses_to_tell_is_left_out(proxy_type: type[Proxy]) -> None:
    html = _shown(proxy_type(_unusable, target=Refusing()))["text/html"]
    assert "Refusing" in html
    assert "shape" not in html


def test_facts_of_the_factory_are_shown_and_escaped(proxy_type: type[Proxy]) -> None:
    html = proxy_type(Told())._repr_mimebundle_()["text/html"]
    assert "made of" in html
    assert "&lt;script&gt;" in html
    assert "<script>" not in html


def test_the_class_of_the_pickle_is_shown_where_it_is_not_loaded() -> None:
    proxy = _load(_unusable, "no_such_module.Thing")
    assert "no_such_module.Thing" in proxy._repr_mimebundle_()["text/html"]
    assert "not known" in _load(_unusable)._repr_mimebundle_()["text/html"]
    assert not is_resolved(proxy)


def test_a_stored_object_is_shown_by_its_store_key_and_measures() -> None:
    with Store("cards & co", LocalConnector()) as store:
        proxy = store.proxy(np.zeros((3, 4)), populate_target=False)
        html = _shown(proxy)["text/html"]
        for fact in ("cards &amp; co", "LocalKey(", "(3, 4)", "float64", "96 bytes"):
            assert fact in html
        assert not is_resolved(proxy)


def test_a_proxy_that_travelled_is_shown_by_its_store_and_key() -> None:
    with Store("cards", LocalConnector()) as store:
        proxy = pickle.loads(pickle.dumps(store.proxy(np.zeros(3))))
        html = _shown(proxy)["text/html"]
        assert "numpy.ndarray" in html
        assert "cards" in html
        assert not is_resolved(proxy)
        assert extract(proxy).shape == (3,)


def test_a_resolved_target_can_still_draw_itself_on_request(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(SimpleFactory(Drawn()))
    assert not hasattr(proxy, "_repr_html_")
    resolve(proxy)
    assert proxy._repr_html_() == "<b>drawn</b>"
