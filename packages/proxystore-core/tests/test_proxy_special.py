"""Containers, calls, contexts, coroutines, paths and buffers through a proxy."""

from __future__ import annotations

import asyncio
import io
import operator
import os
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.proxy import Proxy, _pure, is_resolved


@given(st.dictionaries(st.integers(), st.text(), min_size=1))
def test_a_mapping(proxy_type: type[Proxy], target: dict[int, str]) -> None:
    proxy = proxy_type(lambda: target)
    key = next(iter(target))
    assert proxy[key] == target[key]
    assert key in proxy
    assert len(proxy) == len(target)
    assert dict(proxy) == target
    assert {**proxy} == target
    proxy["new"] = 1
    del proxy["new"]
    assert "new" not in target
    with pytest.raises(KeyError):
        proxy["new"]


@given(st.lists(st.integers(), min_size=2))
def test_a_sequence(proxy_type: type[Proxy], target: list[int]) -> None:
    proxy = proxy_type(lambda: target)
    first, *rest = proxy
    assert [first, *rest] == target
    assert proxy[1:] == target[1:]
    assert list(reversed(proxy)) == target[::-1]
    proxy[0] = 7
    assert target[0] == 7


def test_a_number_is_an_index(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(lambda: 1)
    assert "ab"[proxy] == "b"
    assert list(range(proxy)) == [0]
    assert hex(proxy) == "0x1"


def test_what_is_no_integer_is_no_index_and_the_error_says_what_to_do(
    proxy_type: type[Proxy],
) -> None:
    with pytest.raises(TypeError, match=r"proxied 'float' object.*extract\(proxy\)"):
        operator.index(proxy_type(lambda: 1.5))
    # Not False, which it would be for a missing file.
    with pytest.raises(TypeError, match=r"extract\(proxy\)"), warnings.catch_warnings():
        # It calls whatever can export a buffer a deprecated path.
        warnings.simplefilter("ignore", DeprecationWarning)
        os.stat(proxy_type(lambda: "/"))


def test_an_iterator(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(lambda: iter([1, 2]))
    assert next(proxy) == 1
    assert list(proxy) == [2]
    with pytest.raises(StopIteration):
        next(proxy)


def test_the_default_of_a_length_hint_stands(proxy_type: type[Proxy]) -> None:
    assert operator.length_hint(proxy_type(lambda: (x for x in "")), 7) == 7
    assert operator.length_hint(proxy_type(lambda: iter([1, 2])), 7) == 2


def test_a_call(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(lambda: lambda *args, self, **kwargs: (args, self, kwargs))
    assert proxy(1, self=2, x=3) == ((1,), 2, {"x": 3})


def test_a_context_manager(proxy_type: type[Proxy]) -> None:
    left: list[type] = []

    @contextmanager
    def context() -> Iterator[str]:
        try:
            yield "entered"
        except ValueError as error:
            left.append(type(error))

    with proxy_type(context) as entered:
        assert entered == "entered"
        raise ValueError
    assert left == [ValueError]


def test_coroutines(proxy_type: type[Proxy]) -> None:
    @asynccontextmanager
    async def context() -> AsyncIterator[str]:
        yield "entered"

    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    async def main() -> None:
        assert await proxy_type(answer) == 42
        assert [n async for n in proxy_type(numbers)] == [1, 2]
        assert await anext(proxy_type(numbers)) == 1
        async with proxy_type(context) as entered:
            assert entered == "entered"

    asyncio.run(main())


def test_a_target_without_the_method_is_named(proxy_type: type[Proxy]) -> None:
    async def awaiting() -> None:
        await proxy_type(lambda: 3)

    with pytest.raises(TypeError, match=r"proxied 'int' object has no __enter__"):
        with proxy_type(lambda: 3):
            pass
    with pytest.raises(TypeError, match=r"proxied 'int' object has no __await__"):
        asyncio.run(awaiting())
    with pytest.raises(TypeError, match="'int'"):
        len(proxy_type(lambda: 3))


def test_a_path(proxy_type: type[Proxy], tmp_path: Path) -> None:
    for target in (tmp_path, str(tmp_path)):
        assert os.fspath(proxy_type(lambda target=target: target)) == str(tmp_path)
        assert Path(proxy_type(lambda target=target: target)) == tmp_path
    file = tmp_path / "file"
    file.write_text("text")
    with open(proxy_type(lambda: file), encoding="ascii") as stream:
        assert stream.read() == "text"


def test_what_is_no_path_is_named(proxy_type: type[Proxy]) -> None:
    with pytest.raises(TypeError, match="not int"):
        os.fspath(proxy_type(lambda: 3))


def test_a_file(proxy_type: type[Proxy]) -> None:
    with proxy_type(lambda: io.StringIO("a\nb\n")) as stream:
        assert stream.readlines() == ["a\n", "b\n"]


needs_c_before_3_12 = pytest.mark.needs_c(
    "Python classes export buffers since 3.12", before=(3, 12)
)


@needs_c_before_3_12
def test_a_buffer(proxy_type: type[Proxy]) -> None:
    target: Any = bytearray(b"abc")
    view = memoryview(proxy_type(lambda: target))
    view[0] = ord("x")
    assert target == b"xbc"
    assert b"".join([proxy_type(lambda: b"ab"), b"c"]) == b"abc"
    with pytest.raises(TypeError, match=r"'int' object is not bytes-like.*extract\(proxy\)"):
        memoryview(proxy_type(lambda: 3))


@needs_c_before_3_12
def test_a_view_keeps_the_target_alive_and_locked(proxy_type: type[Proxy]) -> None:
    target = bytearray(b"abc")
    proxy = proxy_type(lambda: target)
    view = memoryview(proxy)
    del proxy
    with pytest.raises(BufferError):
        target.append(0)
    view.release()
    target.append(0)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python classes export buffers since 3.12")
def test_a_buffer_of_the_twin_fails_loudly_where_python_has_no_such_method() -> None:
    with pytest.raises(TypeError, match="Proxy"):
        memoryview(_pure.Proxy(lambda: b"ab"))


def test_making_and_comparing_by_identity_uses_nothing(proxy_type: type[Proxy]) -> None:
    proxy = proxy_type(list)
    assert proxy is not None
    assert id(proxy)
    assert not is_resolved(proxy)
