"""Owning, borrowing and giving up, as functions on proxies."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from proxystore.abc import Capability
from proxystore.connectors.keys import fresh_id
from proxystore.errors import ProxyStoreFactoryError
from proxystore.proxy import Proxy, extract, get_factory, is_resolved
from proxystore.store import Store, StoreFactory
from proxystore.store.types import SerializerT
from proxystore_patterns._options import checked_seconds
from proxystore_patterns.errors import ReferenceNotOwnedError
from proxystore_patterns.ownership._borrowed import (
    RefFactory,
    RefMutFactory,
    lend,
    lend_again,
    lend_mutably,
)
from proxystore_patterns.ownership._estate import Estate
from proxystore_patterns.ownership._kinds import (
    BaseRefProxy,
    OwnedProxy,
    RefMutProxy,
    RefProxy,
    is_a,
)
from proxystore_patterns.ownership._options import check_options
from proxystore_patterns.ownership._owned import OwnedFactory, first_owner
from proxystore_patterns.ownership._records import require

__all__ = ["borrow", "clone", "drop", "into_owned", "mut_borrow", "own", "update"]

T = TypeVar("T")

_BORROW_LEASE = 30.0


# Any in this module: stores with whatever connectors, options of connectors.
def own(
    store: Store[Any],
    obj: T,
    *,
    lease: float | None = None,
    borrow_lease: float = _BORROW_LEASE,
    **options: Any,
) -> OwnedProxy[T]:
    """Store ``obj``, and give the proxy that owns it.

    The object is removed when its owner is: by `drop`, when the proxy is deleted, or when the
    interpreter exits. A pickle moves the ownership to whoever opens it first; until then the
    proxy here can be used, which takes it back. Of all the bytes and processes there
    may be, one has it. While it is borrowed it cannot be moved, dropped or updated.

    Thread safe. In a forked child the proxy can be read and nothing else.

    Args:
        store: Passing it on needs a connector that is deferrable; pickled borrows one that
            is leasable too.
        obj: Anything but `None` and `bool`.
        lease: Seconds for which the object outlives an owner that was killed, or a pickle
            that nobody opens once its sender is gone; the medium ends it. `None`: the object
            stays until ``proxystore-patterns leaks`` removes it, or its store ends. A process
            that stands still for longer than a lease loses it.
        borrow_lease: Seconds for which a pickled borrow outlives a process that was killed.
        options: As for `Store.proxy`, but those that end the object.

    Raises:
        ValueError: An option would end the object, or a lease is not greater than 0.
        TypeError: A lease is no number.
        NonProxiableTypeError: ``obj`` is `None` or a `bool`.
        SerializationError: Nothing can serialize the object.
        CapabilityError: ``lease``, and the connector has none.
        MediumFullError: There is no room. Nothing was stored.
    """
    check_options("own()", options)
    _check_leases("own", store, lease, borrow_lease)
    if lease is not None:
        options["ttl"] = lease
    proxy = store.proxy(obj, inline=False, **options)
    return into_owned(proxy, lease=lease, borrow_lease=borrow_lease)


def into_owned(
    proxy: Proxy[T],
    *,
    populate_target: bool = True,
    lease: float | None = None,
    borrow_lease: float = _BORROW_LEASE,
) -> OwnedProxy[T]:
    """The proxy that owns the object of ``proxy`` from now on. See `own`.

    Other proxies of the object still get it until its owner ends; nobody counts them.

    Args:
        proxy: From a store. If it was to evict its object at the first use, it does not now.
        populate_target: Let the owner have the target, if ``proxy`` is resolved.
        lease: As for `own`.
        borrow_lease: As for `own`.

    Raises:
        ProxyStoreFactoryError: ``proxy`` did not come from a store.
        ValueError: ``proxy`` has an owner, or is a reference; or a lease is not greater than 0.
        TypeError: A lease is no number.
        CapabilityError: ``lease``, and the connector has none.
    """
    if is_a(proxy, BaseRefProxy):
        raise ValueError(
            f"This proxy is a {type(proxy).__name__}, whose object has an owner. To have an "
            f"object of your own, clone() it."
        )
    factory = get_factory(proxy)
    if not isinstance(factory, StoreFactory):
        raise ProxyStoreFactoryError("into_owned()", repr(factory))
    _check_leases("into_owned", factory.get_store(), lease, borrow_lease)
    factory.evict = False
    estate = Estate(copy.copy(proxy), fresh_id(), lease, borrow_lease)
    return first_owner(estate, extract(proxy) if populate_target and is_resolved(proxy) else None)


def borrow(proxy: BaseRefProxy[T], *, populate_target: bool = True) -> RefProxy[T]:
    """A proxy that reads what ``proxy`` owns, or reads.

    The borrow lasts while the result lives, or any copy that was opened from a pickle of it:
    in a task, until that ends or its process dies (see ``borrow_lease`` of `own`). A
    pickle that nobody has opened does not count, so keep the result until the task has
    ended, as `submit` does. It may be opened several times. Opened too late, it says so.

    Args:
        proxy: An `OwnedProxy` or `RefProxy`.
        populate_target: Let the result have the target, if ``proxy`` is resolved.

    Raises:
        MutableBorrowError: Somebody writes it.
        ReferenceNotOwnedError: ``proxy`` is no such proxy.
        ReferenceInvalidError: ``proxy`` has come to its end.
    """
    factory = _factory(proxy)
    if isinstance(factory, OwnedFactory):
        return lend(factory, populate=populate_target)
    if isinstance(factory, RefFactory):
        return lend_again(factory, populate=populate_target)
    raise _not_owned("borrow()", proxy)


def mut_borrow(proxy: OwnedProxy[T], *, populate_target: bool = True) -> RefMutProxy[T]:
    """A proxy that may change what ``proxy`` owns, which cannot be used meanwhile.

    `update` stores what was changed. Without it the owner sees changes only if they were
    made in this process, to the target itself. The borrow lasts as one of `borrow` does;
    its pickle moves it to whoever opens that first, as the pickle of an owner does.

    Args:
        proxy: Who owns it.
        populate_target: Let the result have the target, if ``proxy`` is resolved.

    Raises:
        MutableBorrowError: Somebody has borrowed it.
        ReferenceNotOwnedError: ``proxy`` is no owner.
        ReferenceInvalidError: ``proxy`` has come to its end.
    """
    factory = _factory(proxy)
    if not isinstance(factory, OwnedFactory):
        raise _not_owned("mut_borrow()", proxy)
    return lend_mutably(factory, populate=populate_target)


def clone(proxy: BaseRefProxy[T], **options: Any) -> OwnedProxy[T]:
    """The owner of a new object, equal to that of ``proxy``, in the same store.

    Args:
        proxy: Who owns or reads the object. It is resolved.
        options: As for `own`.

    Raises:
        ValueError: As `own`.
        ReferenceNotOwnedError: ``proxy`` is no such proxy.
        ReferenceInvalidError: ``proxy`` has come to its end.
    """
    factory = _factory(proxy)
    if factory is None:
        raise _not_owned("clone()", proxy)
    check_options("clone()", options, populate_target="the two do not share a target")
    return own(factory.estate.store, extract(proxy), populate_target=False, **options)


def update(proxy: OwnedProxy[T] | RefMutProxy[T], *, serializer: SerializerT | None = None) -> None:
    """Store the target of ``proxy`` in place of the object. Does nothing if it is not resolved.

    Args:
        proxy: Who may change it.
        serializer: Used instead of the store's.

    Raises:
        MutableBorrowError: ``proxy`` owns it, and somebody has borrowed it.
        ReferenceNotOwnedError: ``proxy`` may not change it.
        ReferenceInvalidError: ``proxy`` has come to its end.
        CapabilityError: The connector is not replaceable.
    """
    factory = _factory(proxy)
    if not isinstance(factory, (OwnedFactory, RefMutFactory)):
        raise _not_owned("update()", proxy)
    factory.update(serializer)


def drop(proxy: BaseRefProxy[Any]) -> None:
    """Give up ``proxy`` now: an owner removes its object, a reference ends its borrow here.

    What was opened from pickles of a reference goes on: `mark_refs_out_of_scope` ends that too.

    Raises:
        StillBorrowedError: ``proxy`` owns it, and somebody has borrowed it.
        ReferenceNotOwnedError: ``proxy`` is no such proxy.
        ReferenceInvalidError: ``proxy`` is an owner that has come to its end.
    """
    factory = _factory(proxy)
    if factory is None:
        raise _not_owned("drop()", proxy)
    factory.drop()


def _check_leases(asked: str, store: Store[Any], lease: float | None, borrow_lease: float) -> None:
    checked_seconds(f"{asked}(borrow_lease=)", borrow_lease)
    if lease is not None:
        checked_seconds(f"{asked}(lease=)", lease)
        require(store, "A lease", Capability.LEASABLE)


def _factory(proxy: Any) -> Any:
    return get_factory(proxy) if is_a(proxy, BaseRefProxy) else None


def _not_owned(asked: str, proxy: Any) -> ReferenceNotOwnedError:
    wanted = {
        "borrow()": "an OwnedProxy or RefProxy",
        "mut_borrow()": "an OwnedProxy",
        "update()": "an OwnedProxy or RefMutProxy",
    }.get(asked, "an OwnedProxy or a reference to one")
    return ReferenceNotOwnedError(asked, wanted, f"a {type(proxy).__name__}")
