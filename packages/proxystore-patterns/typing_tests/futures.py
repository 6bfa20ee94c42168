"""What type checkers know of futures and lifetimes. A line marked as an error must be one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from typing import assert_type

from proxystore.abc import Lifetime
from proxystore.connectors.local import LocalConnector
from proxystore.proxy import Proxy
from proxystore.store import Store
from proxystore_patterns.futures import DoneAndNotDone, Future, as_completed, future, wait
from proxystore_patterns.lifetimes import (
    ContextLifetime,
    LeaseLifetime,
    StaticLifetime,
    TaskLifetime,
)


def length(text: str) -> int:
    return len(text)


def a_future_has_the_type_of_its_result(store: Store[LocalConnector]) -> None:
    made: Future[str] = future(store)
    assert_type(made.result(timeout=1.0), str)
    assert_type(made.exception(), Exception | None)
    assert_type(made.proxy(), Proxy[str])
    assert_type(length(made.proxy(timeout=1.0)), int)
    made.set_result("text")
    made.set_result(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def a_future_is_awaited_as_its_result(made: Future[str]) -> None:
    assert_type(await made, str)


def many_futures_keep_their_type(many: list[Future[str]]) -> None:
    assert_type(as_completed(many), Iterator[Future[str]])
    assert_type(wait(many, timeout=1.0), DoneAndNotDone)


def each_lifetime_is_one_that_stores_accept(store: Store[LocalConnector], pool: Executor) -> None:
    lifetimes: list[Lifetime] = [
        ContextLifetime(store),
        LeaseLifetime(store, 1.0),
        StaticLifetime(),
        TaskLifetime(pool.submit(length, "x"), store),
        TaskLifetime(future(store)),
    ]
    for lifetime in lifetimes:
        assert_type(store.proxy("x", lifetime=lifetime), Proxy[str])
