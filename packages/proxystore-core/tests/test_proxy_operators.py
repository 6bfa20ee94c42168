"""Operators and conversions give what they give without a proxy."""

from __future__ import annotations

import math
import operator
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.proxy import Proxy, extract

_NUMBERS = [
    st.integers(-1000, 1000),
    st.booleans(),
    st.floats(-1e6, 1e6),
    st.fractions(max_denominator=100).filter(lambda x: abs(x) < 1000),
    st.complex_numbers(max_magnitude=1e3, allow_nan=False),
]
_CONTAINERS = [
    st.text(max_size=5),
    st.binary(max_size=5),
    st.lists(st.integers(), max_size=4),
    st.tuples(st.integers(), st.integers()),
    st.sets(st.integers(0, 5), max_size=4),
    st.frozensets(st.integers(0, 5), max_size=4),
    st.dictionaries(st.integers(0, 5), st.integers(), max_size=3),
    st.dictionaries(st.integers(0, 5), st.integers(), max_size=3).map(OrderedDict),
]
_VALUES = st.one_of(*_NUMBERS, *_CONTAINERS)
_PAIRS = st.one_of(
    st.tuples(st.one_of(*_NUMBERS), st.one_of(*_NUMBERS)),
    *(st.tuples(values, values) for values in _CONTAINERS),
    st.tuples(st.one_of(*_CONTAINERS), st.integers(0, 3)),
    st.tuples(_VALUES, _VALUES),
)
_COMPARISONS = [operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge]
_SIGNS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.matmul, operator.and_, operator.or_, operator.xor, divmod,
]  # fmt: skip
_INPLACE = [
    operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv,
    operator.imod, operator.imatmul, operator.iand, operator.ior, operator.ixor,
]  # fmt: skip


def _outcome(function: Callable[..., Any], *args: Any) -> tuple[type, Any]:
    """The type and value of a result, or of the failure."""
    try:
        result = function(*args)
    except Exception as error:
        return type(error), None
    if hasattr(type(result), "__proxy_wrapped__"):
        result = extract(result)
    return type(result), "nan" if result != result else result


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, (list, set, dict)) else value


@pytest.mark.slow
@given(pair=_PAIRS, operation=st.sampled_from(_SIGNS + _COMPARISONS))
def test_binary_operators_of_a_proxied_left_operand(
    proxy_type: type[Proxy], pair: tuple[Any, Any], operation: Callable[..., Any]
) -> None:
    left, right = pair
    expected = _outcome(operation, left, right)
    assert expected == _outcome(operation, proxy_type(lambda: left), right)
    assert expected == _outcome(operation, proxy_type(lambda: left), proxy_type(lambda: right))


@pytest.mark.slow
@given(pair=_PAIRS, operation=st.sampled_from(_SIGNS + _COMPARISONS))
def test_binary_operators_of_a_proxied_right_operand(
    proxy_type: type[Proxy], pair: tuple[Any, Any], operation: Callable[..., Any]
) -> None:
    left, right = pair
    if operation is operator.mod and isinstance(left, (str, bytes)):
        # The formatting of a bare string looks at the type of its operand.
        return
    expected = _outcome(operation, left, right)
    assert expected == _outcome(operation, left, proxy_type(lambda: right))


@pytest.mark.slow
@given(pair=_PAIRS, operation=st.sampled_from(_INPLACE))
def test_in_place_operators_change_the_target_and_give_the_proxy(
    proxy_type: type[Proxy], pair: tuple[Any, Any], operation: Callable[..., Any]
) -> None:
    left, right = pair
    expected = _outcome(operation, _copied(left), right)
    for operand in (right, proxy_type(lambda: right)):
        target = _copied(left)
        proxy = proxy_type(lambda target=target: target)
        assert expected == _outcome(operation, proxy, operand)
        mutated = operation(_copied(left), right) if not _failed(expected) else None
        if isinstance(left, (list, set, dict)) and not _failed(expected):
            # The very object was changed, as it is without a proxy.
            assert mutated == target or type(mutated) is not type(target)


_KEYS = st.one_of(st.integers(-5, 5), st.slices(4), st.text(max_size=2), st.none())
_ITEM_OPERATIONS = {
    "get": lambda container, key, _: container[key],
    "set": operator.setitem,
    "delete": lambda container, key, _: operator.delitem(container, key),
    "contains": lambda container, key, _: key in container,
    "count": lambda container, key, _: operator.countOf(container, key),
    "index": lambda container, key, _: operator.indexOf(container, key),
    "length": lambda container, *_: len(container),
    "method": lambda container, key, value: container.pop(key, value),
    "iterate": lambda container, *_: list(container),
}


@pytest.mark.slow
@given(
    container=st.one_of(*_CONTAINERS),
    key=_KEYS,
    value=st.one_of(st.integers(0, 255), st.lists(st.integers(0, 255), max_size=3)),
    name=st.sampled_from(sorted(_ITEM_OPERATIONS)),
)
def test_operations_on_items_do_the_same_to_the_same_container(
    proxy_type: type[Proxy], container: Any, key: Any, value: Any, name: str
) -> None:
    operation = _ITEM_OPERATIONS[name]
    bare = _copied(container)
    expected = _outcome(operation, bare, key, value)
    given_keys = [key]
    if isinstance(container, (list, dict)) and not isinstance(key, slice):
        given_keys.append(proxy_type(lambda: key))
    for given_key in given_keys:
        target = _copied(container)
        proxy = proxy_type(lambda target=target: target)
        assert expected == _outcome(operation, proxy, given_key, value)
        assert list(bare) == list(target)
        assert bare == target


def _failed(outcome: tuple[type, Any]) -> bool:
    return issubclass(outcome[0], Exception)


@pytest.mark.parametrize(("operation", "start"), [("__iadd__", [1]), ("__ior__", {1})])
def test_an_in_place_operator_keeps_the_proxy(
    proxy_type: type[Proxy], operation: str, start: Any
) -> None:
    target = start.copy()
    before = proxy = proxy_type(lambda: target)
    proxy = getattr(operator, operation)(proxy, proxy_type(lambda: type(start)([2])))
    assert proxy is before
    assert extract(proxy) is target
    assert target == type(start)([1, 2])


@pytest.mark.filterwarnings("ignore:Bitwise inversion:DeprecationWarning")
@given(value=_VALUES)
@pytest.mark.parametrize(
    "function",
    [
        operator.neg, operator.pos, operator.abs, operator.invert, operator.not_, operator.truth,
        bool, int, float, complex, str, bytes, list, tuple, hash, len, iter, reversed, round,
        math.trunc, math.floor, math.ceil, format, operator.index, sum, max, sorted, enumerate,
        operator.length_hint,
    ],
)  # fmt: skip
def test_functions_of_one_value(
    proxy_type: type[Proxy], function: Callable[..., Any], value: Any
) -> None:
    if function is complex and isinstance(value, str):
        return  # complex() looks at the type; int() and float() do not.
    expected = _outcome(function, value)
    found = _outcome(function, proxy_type(lambda: value))
    if function in (iter, reversed, enumerate) and not _failed(expected):
        expected = list(expected[1])
        found = list(found[1])
    assert expected == found


@given(base=st.integers(-9, 9), power=st.integers(0, 9), modulo=st.integers(1, 9))
def test_powers(proxy_type: type[Proxy], base: int, power: int, modulo: int) -> None:
    assert proxy_type(lambda: base) ** power == base**power
    assert base ** proxy_type(lambda: power) == base**power
    assert pow(proxy_type(lambda: base), power, modulo) == pow(base, power, modulo)
    proxy = proxy_type(lambda: base)
    proxy **= power
    assert extract(proxy) == base**power


@given(value=st.integers(-9, 9), places=st.integers(0, 9))
def test_shifts(proxy_type: type[Proxy], value: int, places: int) -> None:
    assert proxy_type(lambda: value) << places == value << places
    assert value >> proxy_type(lambda: places) == value >> places
    proxy = proxy_type(lambda: value)
    proxy <<= places
    proxy >>= proxy_type(lambda: places)
    assert extract(proxy) == value


def test_a_proxied_format_string_takes_a_proxied_tuple(proxy_type: type[Proxy]) -> None:
    assert proxy_type(lambda: "%d-%d") % proxy_type(lambda: (1, 2)) == "1-2"


def test_rounding_with_digits(proxy_type: type[Proxy]) -> None:
    assert round(proxy_type(lambda: 3.14159), 2) == 3.14
    assert round(proxy_type(lambda: Fraction(7, 3)), 1) == Fraction(23, 10)


def test_formatting_takes_the_specification(proxy_type: type[Proxy]) -> None:
    assert f"{proxy_type(lambda: 3.14159):.2f}" == "3.14"


numpy: Any = pytest.importorskip("numpy")


@pytest.mark.parametrize("operation", [*_SIGNS[:7], *_COMPARISONS])
@pytest.mark.parametrize("other", ["array", 3, 2.5])
def test_operators_of_arrays(
    proxy_type: type[Proxy], operation: Callable[..., Any], other: Any
) -> None:
    left = numpy.arange(1.0, 5.0)
    right = left[::-1].copy() if other == "array" else other
    if operation is operator.matmul and other != "array":
        return
    for a, b in ((left, right), (right, left)):
        expected = operation(a, b)
        for found in (
            operation(proxy_type(lambda a=a: a), b),
            operation(a, proxy_type(lambda b=b: b)),
            operation(proxy_type(lambda a=a: a), proxy_type(lambda b=b: b)),
        ):
            assert type(found) is type(expected)
            assert found.dtype == expected.dtype
            assert numpy.array_equal(found, expected)


def test_numpy_functions_take_proxies(proxy_type: type[Proxy]) -> None:
    array = numpy.arange(4.0)
    proxy = proxy_type(lambda: array)
    assert numpy.shares_memory(numpy.asarray(proxy), array)
    assert numpy.array_equal(numpy.sin(proxy), numpy.sin(array))
    assert numpy.mean(proxy) == 1.5
    assert numpy.concatenate([proxy, array]).shape == (8,)
    assert numpy.add.reduce(proxy) == 6.0
    out = numpy.zeros(4)
    numpy.add(array, proxy, out=proxy_type(lambda: out))
    assert out.tolist() == [0.0, 2.0, 4.0, 6.0]


@pytest.mark.parametrize(
    "array",
    [
        numpy.array(["ab", "c"]),
        numpy.array([b"ab"]),
        numpy.array(["2026-01-01"], "M8[D]"),
        numpy.array([1], "m8[s]"),
        numpy.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        numpy.array([1, "a", None], dtype=object),
        numpy.array([1, 2], ">i4"),
        numpy.array(5.0),
        numpy.arange(10)[::3],
        numpy.asfortranarray(numpy.ones((3, 4))),
    ],
    ids=lambda array: str(array.dtype),
)
def test_numpy_views_an_array_of_any_type_as_what_it_is(
    proxy_type: type[Proxy], array: Any
) -> None:
    found = numpy.asarray(proxy_type(lambda: array))
    assert found.dtype == array.dtype
    assert numpy.array_equal(found, array)
    assert numpy.shares_memory(found, array)


@pytest.mark.parametrize("scalar", [numpy.float64(2.567), numpy.int8(3), numpy.str_("ab")])
def test_numpy_copies_a_scalar_whole(proxy_type: type[Proxy], scalar: Any) -> None:
    proxy: Any = proxy_type(lambda: scalar)
    assert scalar == numpy.asarray(proxy)[()]
    # It would be the address of memory that is free already.
    assert not hasattr(proxy, "__array_interface__")


def test_an_in_place_operator_on_an_array_writes_into_it(proxy_type: type[Proxy]) -> None:
    array = numpy.arange(4.0)
    proxy = proxy_type(lambda: array)
    proxy += 1
    assert array.tolist() == [1.0, 2.0, 3.0, 4.0]
    array += proxy_type(lambda: 1)
    assert array.tolist() == [2.0, 3.0, 4.0, 5.0]
