"""Any order of owning, moving, borrowing and giving up, against a model of who may do what."""

from __future__ import annotations

import gc
import pickle
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from proxystore.connectors.local import LocalConnector
from proxystore.proxy import extract, is_resolved
from proxystore.store import Store
from proxystore_patterns.errors import BaseRefProxyError, MutableBorrowError, StillBorrowedError
from proxystore_patterns.ownership import borrow, drop, mut_borrow, own, update


@dataclass(eq=False)
class Thing:
    """An object, as it should be."""

    value: list[int]
    owner: Ref | None = None
    """Who can use it as its owner: at most one proxy, or none while it is in bytes only."""
    bytes_of_owner: set[int] = field(default_factory=set)
    """Numbers of the pickles that would still move it."""
    gone: bool = False
    refs: list[Ref] = field(default_factory=list)


@dataclass(eq=False)
class Ref:
    """A proxy, and what it was made for."""

    proxy: Any
    thing: Thing
    kind: str


class Ownership(RuleBasedStateMachine):
    """Everything in one process, where pickles are opened as in any other."""

    owners, readers, writers = Bundle("owners"), Bundle("readers"), Bundle("writers")
    sent_owners, sent_refs = Bundle("sent_owners"), Bundle("sent_refs")

    @initialize()
    def begin(self) -> None:
        self.store = Store("model", LocalConnector())
        self.things: list[Thing] = []
        self.n_pickles = 0

    def made(self, proxy: Any, thing: Thing, kind: str) -> Ref:
        ref = Ref(proxy, thing, kind)
        thing.refs.append(ref)
        return ref

    # --- Owners ---

    @rule(target=owners)
    def own(self) -> Ref:
        thing = Thing([0])
        self.things.append(thing)
        thing.owner = self.made(own(self.store, [0]), thing, "owner")
        return thing.owner

    @rule(target=sent_owners, ref=owners)
    def send_owner(self, ref: Ref) -> Any:
        try:
            data = pickle.dumps(ref.proxy)
        except StillBorrowedError:
            assert self.is_borrowed(ref.thing)
            return multiple()
        except BaseRefProxyError:
            assert ref.thing.owner is not ref or ref.thing.gone
            return multiple()
        self.n_pickles += 1
        # Pickled again since it went: void bytes, as those are told who open them.
        if ref.thing.owner is ref:
            ref.thing.bytes_of_owner.add(self.n_pickles)
        return data, ref.thing, self.n_pickles

    @rule(target=owners, sent=sent_owners)
    def open_owner(self, sent: Any) -> Any:
        data, thing, number = sent
        ref = self.made(pickle.loads(data), thing, "owner")
        if number in thing.bytes_of_owner and not thing.gone:
            thing.owner = ref
            thing.bytes_of_owner.clear()
        return ref

    @rule(ref=owners)
    def use_owner(self, ref: Ref) -> None:
        thing = ref.thing
        try:
            value = list(ref.proxy)
        except MutableBorrowError:
            assert thing.owner is ref
            assert self.is_borrowed(thing, "writer")
        except BaseRefProxyError:
            assert thing.owner is not ref or thing.gone
        else:
            assert thing.owner is ref
            assert not thing.gone
            assert value == thing.value
            # A use takes the ownership back from all bytes.
            thing.bytes_of_owner.clear()

    @rule(ref=owners)
    def drop_owner(self, ref: Ref) -> None:
        thing = ref.thing
        try:
            drop(ref.proxy)
        except StillBorrowedError:
            assert self.is_borrowed(thing)
        except BaseRefProxyError:
            assert thing.owner is not ref or thing.gone
        else:
            assert thing.owner is ref
            thing.gone = True

    @rule(ref=owners)
    def change_owned(self, ref: Ref) -> None:
        thing = ref.thing
        try:
            ref.proxy.append(len(thing.value))
        except BaseRefProxyError:
            return
        thing.bytes_of_owner.clear()
        try:
            update(ref.proxy)
        except MutableBorrowError:
            # As it was: the readers see what they borrowed.
            assert self.is_borrowed(thing, "reader")
            ref.proxy.pop()
        else:
            thing.value.append(len(thing.value))

    # --- Borrows ---

    @rule(target=readers, ref=owners)
    def borrow(self, ref: Ref) -> Any:
        try:
            proxy = borrow(ref.proxy)
        except BaseRefProxyError as error:
            if isinstance(error, MutableBorrowError):
                assert self.is_borrowed(ref.thing, "writer")
            return multiple()
        assert ref.thing.owner is ref
        ref.thing.bytes_of_owner.clear()
        return self.made(proxy, ref.thing, "reader")

    @rule(target=readers, ref=readers)
    def borrow_again(self, ref: Ref) -> Any:
        if ref.kind == "writer" or ref.proxy is None:
            return multiple()
        try:
            return self.made(borrow(ref.proxy), ref.thing, "reader")
        except BaseRefProxyError:
            return multiple()

    @rule(ref=readers)
    def end_scope(self, ref: Ref) -> None:
        if ref.proxy is not None:
            drop(ref.proxy)

    @rule(target=writers, ref=owners)
    def mut_borrow(self, ref: Ref) -> Any:
        try:
            proxy = mut_borrow(ref.proxy)
        except BaseRefProxyError as error:
            if isinstance(error, MutableBorrowError):
                assert self.is_borrowed(ref.thing)
            return multiple()
        assert ref.thing.owner is ref
        ref.thing.bytes_of_owner.clear()
        return self.made(proxy, ref.thing, "writer")

    @rule(target=sent_refs, ref=readers)
    def send_reader(self, ref: Ref) -> Any:
        return self.send(ref)

    @rule(target=sent_refs, ref=writers)
    def send_writer(self, ref: Ref) -> Any:
        return self.send(ref)

    def send(self, ref: Ref) -> Any:
        try:
            return pickle.dumps(ref.proxy), ref.thing, ref.kind
        except (BaseRefProxyError, AttributeError):
            return multiple()

    @rule(target=readers, sent=sent_refs)
    def open_ref(self, sent: Any) -> Any:
        data, thing, kind = sent
        return self.made(pickle.loads(data), thing, kind)

    @rule(ref=readers)
    def read(self, ref: Ref) -> None:
        if ref.proxy is None:
            return
        try:
            value = list(ref.proxy)
        except BaseRefProxyError:
            return
        assert value == ref.thing.value

    @rule(ref=writers)
    def write(self, ref: Ref) -> None:
        self.write_by(ref)

    @rule(ref=readers)
    def write_by_opened(self, ref: Ref) -> None:
        if ref.kind == "writer":
            self.write_by(ref)

    def write_by(self, ref: Ref) -> None:
        if ref.proxy is None:
            return
        try:
            ref.proxy.append(len(ref.thing.value))
            update(ref.proxy)
        except BaseRefProxyError:
            return
        ref.thing.value.append(len(ref.thing.value))

    @rule(ref=consumes(readers))
    def end_reader(self, ref: Ref) -> None:
        self.end(ref)

    @rule(ref=consumes(writers))
    def end_writer(self, ref: Ref) -> None:
        self.end(ref)

    def end(self, ref: Ref) -> None:
        ref.thing.refs.remove(ref)
        ref.proxy = None

    # --- What must hold ---

    def is_borrowed(self, thing: Thing, kind: str | None = None) -> bool:
        return any(ref.kind == kind or (kind is None and ref.kind != "owner") for ref in thing.refs)

    @invariant()
    def nobody_can_use_what_they_may_not(self) -> None:
        """A resolved proxy can be used without anybody being asked."""
        for thing in getattr(self, "things", []):
            usable = [ref.kind for ref in thing.refs if is_resolved(ref.proxy)]
            assert usable.count("owner") <= 1
            assert usable.count("writer") <= 1
            if "writer" in usable:
                assert len(usable) == 1
            values = [extract(ref.proxy) for ref in thing.refs if is_resolved(ref.proxy)]
            assert all(value == thing.value for value in values)

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        for thing in self.things:
            for ref in list(thing.refs):
                if ref.kind != "owner":
                    self.end(ref)
            if thing.owner is not None and not thing.gone:
                # No borrow is left: the owner has it, whatever came before.
                assert list(thing.owner.proxy) == thing.value
                drop(thing.owner.proxy)
        for thing in self.things:
            for ref in list(thing.refs):
                self.end(ref)
            thing.owner = None
        gc.collect()
        # What has a time to live is removed by the medium.
        shelf = self.store.connector._shelf
        assert shelf.objects.keys() <= shelf.expiries.keys()
        self.store.close()


Ownership.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestOwnership = pytest.mark.slow(Ownership.TestCase)
