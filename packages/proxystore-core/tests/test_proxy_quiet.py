"""Tools that look at every object they meet leave proxies unresolved: the tools themselves."""

from __future__ import annotations

import copy
import doctest
import inspect
import io
import logging
import pprint
import reprlib
import subprocess
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.core.completer import IPCompleter
from IPython.core.formatters import DisplayFormatter
from rich.console import Console
from rich.pretty import pretty_repr
from rich.traceback import Traceback

from proxystore.proxy import Proxy, is_resolved

TARGETS: dict[str, Any] = {
    "int": 7,
    "str": "text",
    "list": [1],
    "dict": {"a": 1},
    "path": Path("a"),
    "array": np.zeros(3),
    "frame": pd.DataFrame({"a": [1]}),
    "function": len,
}


# What such tools ask as if they used the object, as the documentation says.
USES = {
    ("inspect", "frame"),
    ("inspect", "function"),
    ("IPython's display of a list", "list"),
    ("IPython's display of a list", "dict"),
    ("IPython's display of a list", "function"),
    ("rich's traceback", "str"),
}


def _unresolved(proxy_type: type[Proxy], name: str) -> Proxy[Any]:
    target = TARGETS[name]
    proxy = proxy_type(lambda: target, target=target, cache_defaults=True)
    del proxy.__proxy_wrapped__
    return proxy


@pytest.fixture(params=[name for name in TARGETS if name != "function"])
def proxy(proxy_type: type[Proxy], request: pytest.FixtureRequest) -> Iterator[Proxy[Any]]:
    """Unresolved, of a recorded class; it must stay so."""
    proxy = _unresolved(proxy_type, request.param)
    yield proxy
    assert not is_resolved(proxy)


def _ask_inspect(proxy: object) -> None:
    for name, question in inspect.getmembers(inspect, inspect.isfunction):
        if name.startswith("is"):
            question(proxy)


def _failing(argument: object) -> None:
    raise NotImplementedError


def _error_of(proxy: object) -> NotImplementedError:
    with pytest.raises(NotImplementedError) as caught:
        _failing(proxy)
    return caught.value


def _rich_traceback(proxy: object) -> None:
    error = _error_of(proxy)
    shown = Traceback.from_exception(
        type(error), error, error.__traceback__, show_locals=True
    )
    Console(file=io.StringIO()).print(shown)


def _completed(proxy: object) -> None:
    completer = IPCompleter(shell=None, namespace={"proxy": proxy}, global_namespace={})
    completer.use_jedi = False
    assert "__class__" in str(completer.complete(line_buffer="proxy.__cl", cursor_pos=10))


LOOKS: dict[str, Callable[[Any], object]] = {
    "inspect": _ask_inspect,
    "pprint": pprint.pformat,
    "pprint of a container": lambda p: pprint.pformat({"a": [p]}, width=1),
    "reprlib": lambda p: reprlib.repr([p]),
    "an f-string with !r": lambda p: f"{p!r}",
    "copy": copy.copy,
    "logging that is off": lambda p: logging.getLogger("proxystore").debug("%s", p),
    "a traceback with locals": lambda p: traceback.TracebackException.from_exception(
        _error_of(p), capture_locals=True
    ),
    "rich.pretty": lambda p: pretty_repr([p]),
    "rich's console": lambda p: Console(file=io.StringIO()).print([p], {"a": p}),
    "rich's traceback": _rich_traceback,
    "IPython's display of a list": lambda p: DisplayFormatter().format([p]),
    "IPython's completion": _completed,
}


@pytest.mark.filterwarnings("ignore:.*Completer.complete:PendingDeprecationWarning")
@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("look", LOOKS)
def test_a_tool_that_looks_resolves_nothing(
    proxy_type: type[Proxy], look: str, name: str
) -> None:
    proxy = _unresolved(proxy_type, name)
    LOOKS[look](proxy)
    assert is_resolved(proxy) == ((look, name) in USES)


def test_doctest_looks_for_examples_in_no_proxy(proxy: Proxy[Any]) -> None:
    module = types.ModuleType("looked_at")
    module.proxy = proxy  # type: ignore[attr-defined]
    assert doctest.DocTestFinder().find(module, module=module) == []


def test_doctest_shows_a_proxy_as_an_answer(proxy: Proxy[Any]) -> None:
    example = f">>> proxy\n{proxy!r}\n>>> [proxy]\n[{proxy!r}]\n"
    parsed = doctest.DocTestParser().get_doctest(example, {"proxy": proxy}, "shown", None, None)
    assert doctest.DocTestRunner(verbose=False).run(parsed) == (0, 2)


_SCRIPT = """
from proxystore.proxy import Proxy, is_resolved

def factory():
    raise RuntimeError("it was " + "resolved")

proxy = Proxy(factory, target=[1], cache_defaults=True)
del proxy.__proxy_wrapped__
"""


def _run(*arguments: str, typed: str = "") -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        input=typed, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.slow
def test_pdb_shows_proxies_and_resolves_none(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"{_SCRIPT}def stopped(argument):\n    return argument\n\nstopped(proxy)\n"
        f"print('unresolved:', not is_resolved(proxy))\n"
    )
    typed = "b stopped\nc\na\np argument\npp argument\nw\nwhatis argument\ndisplay argument\nc\nq\n"
    said = _run("-m", "pdb", str(script), typed=typed)
    assert said.count("SequenceProxy at 0x") >= 3
    assert "unresolved: True" in said
    assert "it was resolved" not in said


@pytest.mark.slow
def test_pytest_collects_explains_and_shows_proxies_and_resolves_none(tmp_path: Path) -> None:
    script = tmp_path / "test_shown.py"
    script.write_text(
        f"{_SCRIPT}test_proxy = TestProxy = proxy\n\ndef test_fails():\n    local = proxy\n"
        f"    assert local is None\n\ndef test_compares():\n    assert [proxy] is not None\n"
        f"    assert (proxy,) is None, proxy\n\n"
        f"def test_unresolved():\n    assert not is_resolved(proxy)\n"
    )
    said = _run(
        *("-m", "pytest", "-l", "-vv", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)),
        str(script),
    )
    assert "2 failed, 1 passed" in said
    assert "assert <SequenceProxy at 0x" in said
    assert "it was resolved" not in said


def test_the_documentation_of_a_class_is_known_without_the_object(proxy_type: Any) -> None:
    unresolved = proxy_type(_never, cache_defaults=True, target=Documented())
    del unresolved.__proxy_wrapped__
    assert inspect.getdoc(unresolved) == "What a target says of itself."
    assert not unresolved.__proxy_resolved__


def test_a_function_has_a_documentation_of_its_own(proxy_type: Any) -> None:
    def target() -> None:
        """Its own."""

    proxy = proxy_type(lambda: target, cache_defaults=True, target=target)
    del proxy.__proxy_wrapped__
    assert proxy.__doc__ == "Its own."


class Documented:
    """What a target says of itself."""


def _never() -> Any:
    raise AssertionError("resolved")
