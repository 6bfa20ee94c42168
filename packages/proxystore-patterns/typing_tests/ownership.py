"""What type checkers know of owners and references. A line marked as an error must be one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import assert_type

from proxystore.connectors.local import LocalConnector
from proxystore.store import Store
from proxystore_patterns.ownership import (
    BaseRefProxy,
    OwnedProxy,
    RefMutProxy,
    RefProxy,
    SharedProxy,
    borrow,
    clone,
    drop,
    into_owned,
    mark_refs_out_of_scope,
    mut_borrow,
    own,
    share,
    submit,
    update,
)


@dataclass
class Point:
    x: int


def length(point: Point) -> int:
    return point.x


def each_function_keeps_the_type_of_the_target(store: Store[LocalConnector]) -> None:
    owner = own(store, Point(1), lease=10.0)
    assert_type(owner, OwnedProxy[Point])
    assert_type(borrow(owner), RefProxy[Point])
    assert_type(borrow(borrow(owner)), RefProxy[Point])
    assert_type(mut_borrow(owner), RefMutProxy[Point])
    assert_type(clone(borrow(owner)), OwnedProxy[Point])
    assert_type(share(store, Point(1)), SharedProxy[Point])
    assert_type(into_owned(store.proxy(Point(1))), OwnedProxy[Point])
    update(mut_borrow(owner))
    drop(owner)


def each_proxy_is_accepted_where_its_target_is(owner: OwnedProxy[Point]) -> None:
    assert_type(length(owner), int)
    assert_type(length(borrow(owner)), int)
    assert_type(length(mut_borrow(owner)), int)


def every_kind_is_a_reference(owner: OwnedProxy[int], reader: RefProxy[int]) -> None:
    kinds: list[BaseRefProxy[int]] = [owner, reader]
    for kind in kinds:
        drop(kind)


def a_task_gives_what_its_executor_gives(pool: ThreadPoolExecutor, owner: OwnedProxy[int]) -> None:
    reader = borrow(owner)
    future = submit(pool.submit, args=(int, reader))
    assert isinstance(future, Future)
    future.cancel()
    mark_refs_out_of_scope(reader)


def what_is_no_proxy_is_an_error() -> None:
    drop(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    borrow([1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    submit(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    own(1, 2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
