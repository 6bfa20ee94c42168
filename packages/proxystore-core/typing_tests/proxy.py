"""What users write about proxies, where both checkers agree.

A line marked as an error must be one: the mark is reported where it is not needed.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import assert_type

from proxystore.connectors.local import LocalConnector
from proxystore.proxy import Proxy, extract, get_factory, json_default, resolve_async
from proxystore.store import Store


def total(numbers: list[int]) -> int:
    return sum(numbers)


def a_proxy_is_accepted_where_its_target_is(store: Store[LocalConnector]) -> None:
    proxy = store.proxy([1, 2, 3])
    total(proxy)
    total(Proxy(lambda: [1]))
    Path(store.proxy("name")).exists()
    same: list[int] = proxy
    total(same)


def a_list_of_proxies_is_accepted_too(store: Store[LocalConnector]) -> None:
    for proxy in store.proxy_batch([[1], [2]]):
        total(proxy)


def a_proxy_is_used_as_its_target(text: Proxy[str], numbers: Proxy[list[int]]) -> None:
    assert_type(len(text), int)
    assert_type([number + 1 for number in numbers], list[int])
    assert_type("a" in text, bool)
    text.upper()
    numbers.append(1)
    numbers[0] += 1
    numbers += [4]


def a_context_keeps_its_type() -> None:
    @contextmanager
    def context() -> Generator[str]:
        yield "entered"

    with Proxy(context) as entered:
        assert_type(entered, str)


def functions_of_proxies_know_the_target(proxy: Proxy[list[int]]) -> None:
    assert_type(extract(proxy), list[int])
    assert_type(get_factory(proxy)(), list[int])
    assert_type(resolve_async(proxy).result(), list[int])
    json_default(proxy)


def proxies_vary_with_their_target(proxy: Proxy[bool]) -> Proxy[int]:
    return proxy


def what_is_wrong_is_an_error(store: Store[LocalConnector], proxy: Proxy[list[int]]) -> None:
    store.proxy([1], evict="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    word: str = extract(proxy)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    extract(proxy).nothing()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    word.upper()
