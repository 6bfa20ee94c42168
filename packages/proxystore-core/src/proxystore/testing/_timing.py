"""What the capabilities that have to do with time promise: waits, leases, coroutines."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from proxystore.abc import Capability, Key, Notifier
from proxystore.testing._claims import Suite, requires
from proxystore.testing._objects import read
from proxystore.testing._samples import Content, pattern
from proxystore.testing._subject import Subject

__all__ = ["AsyncContract", "LeasableContract", "WaitableContract"]

T = TypeVar("T")

_FAR = 3600.0
_GIVE_UP = 3.0


def _within(seconds: float, call: Callable[[], T]) -> T:
    """What ``call`` returns, or a failure if that takes too long."""
    answer: list[T] = []
    # A daemon: a call that never ends must not keep the test run from ending.
    caller = threading.Thread(target=lambda: answer.append(call()), daemon=True)
    caller.start()
    caller.join(seconds)
    assert answer, f"the call raised, or was not back within {seconds} s"
    return answer[0]


class WaitableContract(Suite):
    """wait."""

    needs = frozenset({Capability.WAITABLE})

    def test_wait_for_an_object_that_is_there_is_true(self, connector: Subject) -> None:
        key = connector.put(b"")
        assert _within(_GIVE_UP, lambda: connector.wait(key)) is True

    def test_wait_ends_false_at_its_timeout(self, connector: Subject) -> None:
        key = connector.put(b"x")
        connector.evict(key)
        start = time.monotonic()
        assert _within(_GIVE_UP / 2, lambda: connector.wait(key, timeout=0.05)) is False
        assert time.monotonic() - start >= 0.04

    @requires(Capability.DEFERRABLE, Capability.WAITABLE)
    def test_wait_ends_true_when_the_object_appears(self, connector: Subject) -> None:
        key = connector.new_key()
        setting = threading.Timer(0.03, connector.set, (key, b"here"))
        setting.start()
        assert _within(_GIVE_UP, lambda: connector.wait(key, timeout=_FAR)) is True
        assert b"here" == read(connector, key)
        setting.join()

    @requires(Capability.DEFERRABLE, Capability.WAITABLE)
    def test_a_notifier_calls_for_each_key_that_is_set(self, connector: Subject) -> None:
        if not isinstance(connector, Notifier):
            # Nothing is promised, and who waits for many keys looks now and then.
            return
        keys = [connector.new_key() for _ in range(50)]
        told: dict[Key, threading.Event] = {key: threading.Event() for key in keys}
        leaves = [leave for key in keys if (leave := connector.notify(key, told[key].set))]
        if not leaves:
            return
        with self.another(connector) as other:
            for key in keys:
                # Calls made in vain are allowed: one more is to come.
                told[key].clear()
                other.set(key, b"x")
        assert all(each.wait(_GIVE_UP) for each in told.values())
        for leave in leaves:
            leave()
            leave()


class LeasableContract(Suite):
    """ttl and touch. `ttl` and `pass_time` say how long a short life is."""

    needs = frozenset({Capability.LEASABLE})

    def test_an_object_is_there_before_its_ttl_ends(self, connector: Subject) -> None:
        key = connector.put(b"x", ttl=_FAR)
        assert connector.exists(key) is True
        assert b"x" == read(connector, key)

    def test_an_object_is_absent_after_its_ttl(self, connector: Subject) -> None:
        key = connector.put(b"x", ttl=self.ttl)
        (batched,) = connector.put_batch([b"y"], ttl=self.ttl)
        kept = connector.put(b"kept")
        self.pass_time(self.ttl)
        assert connector.get(key) is None
        assert connector.exists(batched) is False
        assert [None, None] == connector.get_batch([batched, key])
        assert b"kept" == read(connector, kept)

    def test_a_buffer_survives_the_ttl(self, connector: Subject) -> None:
        found = connector.get(connector.put(pattern(100_000), ttl=self.ttl))
        self.pass_time(self.ttl)
        connector.put(b"which may sweep")
        assert found is not None
        assert Content(pattern(100_000)) == Content(found)

    @requires(Capability.DEFERRABLE, Capability.LEASABLE)
    def test_set_takes_a_ttl(self, connector: Subject) -> None:
        key = connector.new_key()
        connector.set(key, b"x", ttl=self.ttl)
        self.pass_time(self.ttl)
        assert connector.exists(key) is False

    def test_touch_lengthens_a_life(self, connector: Subject) -> None:
        timed, endless = connector.put_batch([b"x", b"y"], ttl=self.ttl * 4)
        assert connector.touch(timed, _FAR) is True
        assert connector.touch(endless, None) is True
        self.pass_time(self.ttl * 4)
        assert b"x" == read(connector, timed)
        assert b"y" == read(connector, endless)

    def test_touch_shortens_a_life(self, connector: Subject) -> None:
        key = connector.put(b"x")
        assert connector.touch(key, self.ttl) is True
        self.pass_time(self.ttl)
        assert connector.get(key) is None

    def test_touch_of_an_absent_object_is_false(self, connector: Subject) -> None:
        evicted, expired = connector.put(b"x"), connector.put(b"y", ttl=self.ttl)
        connector.evict(evicted)
        self.pass_time(self.ttl)
        assert connector.touch(evicted, _FAR) is False
        assert connector.touch(expired, _FAR) is False
        assert connector.get(expired) is None


class AsyncContract(Suite):
    """aput, aget, aexists and aevict."""

    needs = frozenset({Capability.ASYNC})

    def test_the_twins_are_coroutine_functions(self, connector: Subject) -> None:
        twins = (connector.aput, connector.aget, connector.aexists, connector.aevict)
        assert all(inspect.iscoroutinefunction(twin) for twin in twins)

    def test_the_twins_do_what_their_sync_names_do(self, connector: Subject) -> None:
        async def scenario() -> None:
            key = await connector.aput(b"x")
            assert await connector.aexists(key) is True
            assert b"x" == bytes(await connector.aget(key) or b"")
            await connector.aevict(key)
            await connector.aevict(key)
            assert await connector.aexists(key) is False
            assert await connector.aget(key) is None

        asyncio.run(scenario())

    def test_sync_and_async_calls_see_the_same_objects(self, connector: Subject) -> None:
        before = connector.put(b"before")

        async def scenario() -> None:
            assert b"before" == bytes(await connector.aget(before) or b"")

        asyncio.run(scenario())
        assert b"before" == read(connector, before)

    def test_many_calls_run_at_once(self, connector: Subject) -> None:
        async def scenario() -> list[bytes]:
            keys = await asyncio.gather(*(connector.aput(pattern(99, n)) for n in range(50)))
            found = await asyncio.gather(*(connector.aget(key) for key in keys))
            return [bytes(entry or b"") for entry in found]

        assert [pattern(99, n) for n in range(50)] == asyncio.run(scenario())
