"""What only one implementation can get wrong: memory, the C stack, and the choice between two."""

from __future__ import annotations

import functools
import gc
import inspect
import operator
import os
import subprocess
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic

import pytest

from proxystore.factory import LambdaFactory, SimpleFactory
from proxystore.proxy import Proxy, ProxyReentryError, _pure, extract, is_resolved, resolve
from proxystore.proxy._variants import Variant, fit

# --- Which implementation -----------------------------------------------------


def _python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PROXYSTORE_PURE_PYTHON": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.strip() or done.stderr.strip()


_WHICH = "from proxystore.proxy import Proxy; import inspect; "
_WHICH += "print(inspect.isfunction(Proxy.__init__))"


@pytest.mark.slow
def test_the_c_type_is_chosen_and_the_twin_on_request(c_proxy: type[Proxy]) -> None:
    assert _python(_WHICH) == "False"
    assert _python(_WHICH, PROXYSTORE_PURE_PYTHON="0") == "False"
    assert _python(_WHICH, PROXYSTORE_PURE_PYTHON="1") == "True"


@pytest.mark.slow
def test_without_the_c_type_the_twin_is_chosen() -> None:
    assert _python(f"import sys; sys.modules['proxystore.proxy._c'] = None; {_WHICH}") == "True"


@pytest.mark.slow
def test_a_c_type_that_does_not_load_is_an_error() -> None:
    code = """
import sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "proxystore.proxy._c":
            raise ImportError("undefined symbol")
sys.meta_path.insert(0, Finder())
import proxystore.proxy
"""
    said = _python(code)
    assert "does not load here: undefined symbol. Set PROXYSTORE_PURE_PYTHON=1" in said


@pytest.mark.slow
@pytest.mark.parametrize(("writer", "reader"), [("0", "1"), ("1", "0")])
def test_each_implementation_reads_the_pickles_of_the_other(writer: str, reader: str) -> None:
    make = """
import pickle
from fractions import Fraction
from proxystore.factory import SimpleFactory
from proxystore.proxy import Proxy
half = Fraction(1, 2)
print(pickle.dumps(Proxy(SimpleFactory(half), target=half, cache_defaults=True)))
"""
    data = _python(make, PROXYSTORE_PURE_PYTHON=writer)
    read = f"""
import fractions, pickle
p = pickle.loads({data})
print(p.__proxy_default_class__.__name__, p.__proxy_resolved__, p + 1)
"""
    assert _python(read, PROXYSTORE_PURE_PYTHON=reader) == "Fraction False 3/2"


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["", "'legacy'"])
def test_a_subinterpreter_is_refused_with_a_way_out(
    c_proxy: type[Proxy], tmp_path: Path, isolation: str
) -> None:
    module = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    if isolation and module == "_xxsubinterpreters":
        isolation = "isolated=False"
    pytest.importorskip(module)
    said = tmp_path / "said"
    inside = f"""
try:
    import proxystore.proxy
except ImportError as error:
    text = str(error)
else:
    text = "imported"
open({str(said)!r}, "w").write(text)
"""
    _python(f"import {module} as i; i.run_string(i.create({isolation}), {inside!r})")
    text = said.read_text()
    assert "subinterpreter" in text
    assert "PROXYSTORE_PURE_PYTHON=1" in text


@pytest.mark.parametrize("variant", Variant)
def test_both_have_the_same_special_methods(
    c_proxy: type[Proxy], variant: Variant
) -> None:
    def special(cls: type[Proxy]) -> set[str]:
        fitted = cls(list)
        fit(fitted, variant)
        bases = set(type(fitted).__mro__) - {Generic, object}
        return {name for base in bases for name in vars(base) if name.startswith("__")}

    # By origin: what comes of being a Generic, of having slots, or of C having its own.
    of_python = {"__dict__", "__module__", "__orig_bases__", "__parameters__", "__slots__"}
    of_python |= {"__annotations__", "__static_attributes__", "__firstlineno__", "__weakref__"}
    of_c = {"__class_getitem__", "__new__", "__buffer__"}
    assert special(_pure.Proxy) - special(c_proxy) <= of_python
    assert special(c_proxy) - special(_pure.Proxy) <= of_c


def test_both_have_the_same_signature(proxy_type: type[Proxy]) -> None:
    names = list(inspect.signature(proxy_type).parameters)
    assert names == ["factory", "cache_defaults", "target"]


# --- Memory -------------------------------------------------------------------


class Target:
    def __init__(self) -> None:
        self.items = [1, 2, 3]

    def method(self, *args: object) -> object:
        return args


_OPERATIONS: list[Callable[[Any], object]] = [
    lambda p: p.items, lambda p: p.method(1), lambda p: p.__class__, lambda p: setattr(p, "x", p),
    lambda p: delattr(p, "x"), lambda p: p.missing, lambda p: isinstance(p, Target), hash, str,
    repr, dir, bool, lambda p: p == p, lambda p: p + 1, lambda p: 1 + p, lambda p: p @ p, len,
    lambda p: p[0], lambda p: p(), iter, next, operator.index, memoryview, int, round, pow,
    lambda p: p ** 2, lambda p: pow(p, 2, 3), lambda p: p % p, "{}".format, extract,
    lambda p: p.__reduce__(), lambda p: operator.iadd(p, 1), lambda p: weakref.ref(p),
    lambda p: p.__proxy_factory__, lambda p: p.__proxy_target__, lambda p: 1 in p,
    lambda p: p.__init__, lambda p: getattr(p, ""), lambda p: p.__proxy_default_class__,
]  # fmt: skip

_TARGETS = [Target(), [1, 2], {0: 1}, 7, 2.5, b"ab", "ab", iter(()), Target, None]


def _exercise(proxy_type: type[Proxy]) -> None:
    for target in _TARGETS:
        for operation in _OPERATIONS:
            proxy = proxy_type(SimpleFactory(target))
            for _ in range(2):  # Unresolved, then resolved.
                try:
                    operation(proxy)
                except Exception:
                    pass
    for arguments in ((list,), (), (3,), (list, 1), (list, 1, 2, 3)):
        for options in (
            {}, {"target": []}, {"cache_defaults": True}, {"target": [], "cache_defaults": True},
            {"target": 1, "cache_defaults": True}, {"other": 1}, {"target": [], "other": 1},
        ):  # fmt: skip
            try:
                proxy_type(*arguments, **options)
            except TypeError:
                pass


@pytest.mark.slow
def test_no_operation_leaks_memory(proxy_type: type[Proxy]) -> None:
    def traced(n_rounds: int) -> int:
        for _ in range(n_rounds):
            _exercise(proxy_type)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = traced(3)
        after = traced(50)
    finally:
        tracemalloc.stop()
    # The smallest object, once a round, would be more.
    assert after - before < 50 * 16


@pytest.mark.slow
def test_no_operation_leaks_references(proxy_type: type[Proxy]) -> None:
    class Operand:
        pass

    def counts() -> list[int]:
        gc.collect()
        return [sys.getrefcount(x) for x in (*_TARGETS[:2], Target, operand, factory, proxy_type)]

    def operate() -> None:
        _exercise(proxy_type)
        for operation in (operator.add, operator.mod, operator.iadd, operator.eq, pow):
            for values in ((proxy_type(factory), operand), (operand, proxy_type(factory))):
                try:
                    operation(*values)
                except TypeError:
                    pass

    operand = Operand()
    factory = LambdaFactory(list, [1, 2])
    operate()
    before = counts()
    for _ in range(50):
        operate()
    assert counts() == before


def test_a_cycle_through_a_proxy_is_collected(proxy_type: type[Proxy]) -> None:
    for wrap in (lambda target: target, lambda target: [target]):
        target = Target()
        seen = weakref.ref(target)
        # The factory holds it too.
        target.proxy = proxy_type(functools.partial(wrap, target))
        resolve(target.proxy)
        del target
        gc.collect()
        assert seen() is None


@pytest.mark.slow
def test_a_chain_of_many_proxies_dies_in_peace(proxy_type: type[Proxy]) -> None:
    proxy: Any = proxy_type(list)
    for _ in range(500_000):
        proxy = proxy_type(proxy)
    seen = weakref.ref(proxy)
    del proxy
    assert seen() is None


def test_weak_references_of_proxies_that_die_together_are_told(proxy_type: type[Proxy]) -> None:
    told: list[object] = []
    proxy: Any = proxy_type(list)
    references = []
    for _ in range(500):
        proxy = proxy_type(proxy)
        references.append(weakref.ref(proxy, told.append))
    del proxy
    assert len(told) == len(references)


def test_a_target_that_is_deleted_during_an_operation_survives_it(
    proxy_type: type[Proxy],
) -> None:
    class Vanishing:
        def __init__(self) -> None:
            self.word = "alive"

        def _vanish(self, *_: object) -> Any:
            del proxy.__proxy_wrapped__
            gc.collect()
            return self.word

        __add__ = __getitem__ = __call__ = __str__ = __lt__ = _vanish
        __getattr__ = _vanish

    proxy: Any = proxy_type(Vanishing)
    for operation in (
        lambda: proxy + 1, lambda: proxy[0], lambda: proxy(), lambda: str(proxy),
        lambda: proxy < 1, lambda: proxy.name,
    ):  # fmt: skip
        assert operation() == "alive"
        assert not is_resolved(proxy)


def test_a_target_that_is_deleted_while_it_is_recorded_survives_it(
    proxy_type: type[Proxy],
) -> None:
    class Vanishing:
        @property
        def __class__(self) -> type:
            del proxy.__proxy_wrapped__
            gc.collect()
            return self.kind

        def __init__(self) -> None:
            self.kind = int

    proxy: Any = proxy_type.__new__(proxy_type)
    # Once more, for a target that nobody else holds is held by the call alone.
    proxy_type.__init__(proxy, list, target=proxy_type(Vanishing), cache_defaults=True)
    assert proxy.__proxy_default_class__ is int
    assert not is_resolved(proxy)


@pytest.mark.slow
def test_threads_may_use_replace_and_delete_a_target_at_once(proxy_type: type[Proxy]) -> None:
    proxy: Any = proxy_type(lambda: [1, 2, 3])
    wrong: list[object] = []
    start = threading.Barrier(4)

    def use() -> None:
        start.wait(30)
        for _ in range(5_000):
            if (len(proxy), proxy[1], proxy.index(3)) != (3, 2, 2):
                wrong.append("use")

    def change() -> None:
        start.wait(30)
        for _ in range(5_000):
            proxy.__proxy_wrapped__ = [1, 2, 3]
            del proxy.__proxy_wrapped__

    threads = [threading.Thread(target=work) for work in (use, use, change, change)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


# --- The C stack --------------------------------------------------------------


def test_a_target_that_holds_its_proxy_is_a_recursion_error(proxy_type: type[Proxy]) -> None:
    proxy: Any = proxy_type(lambda: target)
    target = (proxy,)
    with pytest.raises(RecursionError):
        hash(proxy)


@pytest.mark.parametrize(
    "operation",
    [lambda p: p.x, lambda p: p[0], len, bool, str, lambda p: p + 1, iter, lambda p: p == 1],
)
def test_a_target_that_leads_back_to_its_proxy_is_an_error(
    proxy_type: type[Proxy], operation: Callable[[Any], object]
) -> None:
    proxy: Any = proxy_type(lambda: weakref.proxy(proxy))
    with pytest.raises((RecursionError, ProxyReentryError)):
        operation(proxy)


# --- Subclasses and odd uses --------------------------------------------------


def test_a_subclass_of_proxy_is_a_proxy(proxy_type: type[Proxy]) -> None:
    class Own(proxy_type):
        def __init__(self, value: object) -> None:
            super().__init__(lambda: value)

    own: Any = Own([1])
    assert isinstance(own, proxy_type)
    assert operator.add(own, [2]) == [1, 2]
    assert operator.add([2], own) == [2, 1]
    assert extract(own) == [1]
    assert extract(proxy_type(lambda: own)) == [1]


def test_a_proxy_that_was_never_made_says_so(proxy_type: type[Proxy]) -> None:
    proxy: Any = proxy_type.__new__(proxy_type)
    with pytest.raises(AttributeError, match="__proxy_factory__"):
        len(proxy)


def test_the_factory_can_be_replaced(proxy_type: type[Proxy]) -> None:
    proxy: Any = proxy_type(list)
    proxy.__proxy_factory__ = dict
    assert extract(proxy) == {}


def test_what_is_read_only_cannot_be_set(proxy_type: type[Proxy]) -> None:
    proxy: Any = proxy_type(list)
    for name in ("__proxy_resolved__", "__proxy_default_class__", "__proxy_default_hash__"):
        with pytest.raises(AttributeError):
            setattr(proxy, name, None)
    assert not is_resolved(proxy)


def test_the_value_that_a_generator_returns_is_kept(proxy_type: type[Proxy]) -> None:
    def generator() -> Any:
        yield 1
        return "value"

    proxy = proxy_type(generator)
    assert next(proxy) == 1
    with pytest.raises(StopIteration) as caught:
        next(proxy)
    assert caught.value.value == "value"


def test_what_is_no_iterator_is_named(proxy_type: type[Proxy]) -> None:
    with pytest.raises(TypeError, match="'list' object is not an iterator"):
        next(proxy_type(list))


def test_a_target_that_keeps_its_operand_gets_the_proxy(proxy_type: type[Proxy]) -> None:
    class Expression:
        def __add__(self, other: object) -> object:
            return (other,)

        __pow__ = __eq__ = __lt__ = __matmul__ = __add__

    other = proxy_type(int)
    for operation in (operator.add, operator.pow, operator.eq, operator.lt, operator.matmul):
        (kept,) = operation(proxy_type(Expression), other)
        assert kept is other
        assert not is_resolved(other)
