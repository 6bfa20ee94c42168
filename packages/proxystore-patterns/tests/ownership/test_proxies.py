"""Owned proxies and references behave as proxies do, at the same cost."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest

from proxystore.connectors.local import LocalConnector
from proxystore.proxy import Proxy, extract, get_factory, is_resolved
from proxystore.store import Store, get_key
from proxystore_patterns import errors
from proxystore_patterns.ownership import (
    BaseRefProxy,
    OwnedProxy,
    RefMutProxy,
    RefProxy,
    SharedProxy,
    borrow,
    mut_borrow,
    own,
    share,
)


@pytest.fixture
def here() -> Any:
    """A store of this process."""
    with Store("here", LocalConnector()) as store:
        yield store


def test_an_owned_object_is_stored_however_small_and_whatever_its_store_prefers() -> None:
    with Store("here", inline_nbytes=4096) as store:
        owned = own(store, "small")
        assert store.exists(get_factory(owned).estate.key)
        assert owned == "small"


MAKE = {
    "OwnedProxy": own,
    "RefProxy": lambda store, obj: borrow(own(store, obj)),
    "RefMutProxy": lambda store, obj: mut_borrow(own(store, obj)),
    "SharedProxy": share,
}
each_kind = pytest.mark.parametrize("kind", list(MAKE))


@each_kind
def test_each_is_a_proxy_of_its_own_type(here: Any, kind: str) -> None:
    types = {each.__name__: each for each in (OwnedProxy, RefProxy, RefMutProxy, SharedProxy)}
    proxy = MAKE[kind](here, [1, 2])
    assert isinstance(proxy, Proxy)
    assert isinstance(proxy, BaseRefProxy)
    assert {name for name, each in types.items() if isinstance(proxy, each)} == {kind}
    assert isinstance(proxy, list)
    assert repr(proxy).startswith(f"<{kind} at ")
    assert (proxy[0], len(proxy), list(proxy), proxy * 2) == (1, 2, [1, 2], [1, 2, 1, 2])


@each_kind
def test_patterns_and_paths_take_each_for_its_target(here: Any, kind: str) -> None:
    for travelled in (False, True):
        values: list[Any] = [[1, 2], {"a": 1}, "/tmp", PurePosixPath("/"), 3]
        found = []
        for value in values:
            proxy = MAKE[kind](here, value)
            if travelled:
                proxy = pickle.loads(pickle.dumps(proxy))
                assert type(value).__name__ in repr(proxy.__class__)
                assert not is_resolved(proxy)
            match proxy:
                case [first, *_]:
                    found.append(first)
                case {"a": item}:
                    found.append(item)
                case _:
                    found.append(os.path.exists(proxy) if value != 3 else proxy + 1)
        assert found == [1, 1, True, True, 4]


@each_kind
def test_unpickling_resolves_nothing_and_knows_the_class(here: Any, kind: str) -> None:
    original = MAKE[kind](here, {"a": 1})
    proxy = pickle.loads(pickle.dumps(original))
    assert isinstance(proxy, dict)
    assert not is_resolved(proxy)
    assert proxy == {"a": 1}


@each_kind
def test_copies_are_refused(here: Any, kind: str) -> None:
    proxy = MAKE[kind](here, [1])
    for function in (copy.copy, copy.deepcopy):
        with pytest.raises(errors.ReferenceCopyError, match="clone"):
            function(proxy)
    assert is_resolved(proxy)


@each_kind
def test_a_pickle_is_small(kind: str) -> None:
    with Store("demo") as store:
        proxy = MAKE[kind](store, np.arange(10))
        assert len(pickle.dumps(proxy)) <= 320


def test_what_an_exclusive_proxy_changes_is_not_in_the_cache(here: Any) -> None:
    proxy = own(here, [1], populate_target=False)
    key = get_factory(proxy).estate.key
    here.get(key)
    proxy.append(2)
    assert here.get(key) == [1]
    writer = mut_borrow(proxy)
    writer.append(3)
    assert here.get(key) == [1]


def test_the_factory_says_what_it_stands_for(here: Any) -> None:
    proxy = own(here, np.arange(3), populate_target=False)
    assert "here" in proxy._repr_mimebundle_()["text/html"]
    assert not is_resolved(proxy)


def test_what_cannot_be_proxied_cannot_be_owned(here: Any) -> None:
    for value in (None, True):
        with pytest.raises(TypeError):
            own(here, value)


def test_a_key_of_a_plain_proxy_stays_readable(here: Any) -> None:
    proxy = own(here, [1])
    assert here.get(get_key(get_factory(proxy).estate.plain)) == [1]


@pytest.mark.parametrize("pure", ["0", "1"])
def test_in_both_implementations_a_pickle_moves(pure: str) -> None:
    code = """
import pickle
from proxystore.store import Store
from proxystore_patterns.ownership import own, borrow, mut_borrow, share, update
with Store("x") as store:
    p = own(store, [1])
    p = pickle.loads(pickle.dumps(p))
    match p:
        case [1]: pass
    m = mut_borrow(p); m += [2]; update(m); del m
    q = pickle.loads(pickle.dumps(share(store, [1, 2])))
    print(p, borrow(p), q)
    p = q = None
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PROXYSTORE_PURE_PYTHON": pure},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("[1, 2] [1, 2] [1, 2]", "")


def test_the_target_is_used_without_any_check(here: Any) -> None:
    proxy = own(here, [1])
    plain = Proxy(lambda: [1], target=[1])
    # The very functions in C, or in Python, that a plain proxy has.
    for name in ("__getattribute__", "__getitem__", "__len__", "__iter__", "__add__"):
        assert getattr(type(proxy), name, None) is getattr(type(plain), name, None)
    assert extract(proxy) == [1]


@pytest.mark.parametrize(
    "error",
    [
        errors.MutableBorrowError("borrow it", "x reads it"),
        errors.StillBorrowedError("drop it", "x reads it"),
        errors.ReferenceNotOwnedError("drop()", "an OwnedProxy", "a Proxy"),
        errors.ReferenceInvalidError("RefProxy", "it ended", "Borrow again."),
        errors.ReferenceMovedError("OwnedProxy", "process 1 on host a"),
    ],
)
def test_each_error_survives_pickling(error: errors.BaseRefProxyError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.cause is None
    assert vars(again) == vars(error)
