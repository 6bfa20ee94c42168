"""Leases are renewed in time, whatever hangs beside them."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from proxystore.errors import ConnectorUnavailableError, MediumFullError, StoreClosedError
from proxystore_patterns.lifetimes._clock import CLOCK, Alarm
from proxystore_patterns.lifetimes._renewal import Renewal

Until = Callable[[Callable[[], bool]], bool]


@pytest.fixture
def fire() -> threading.Event:
    return threading.Event()


def test_a_call_that_hangs_holds_up_those_of_its_lane_alone(fire: threading.Event) -> None:
    others, same = threading.Event(), threading.Event()
    CLOCK.after(0, lambda: fire.wait(20) and None, lane="hangs")
    CLOCK.after(0, same.set, lane="hangs")
    CLOCK.after(0.001, others.set, lane="goes on")
    assert others.wait(20)
    assert not same.is_set()
    fire.set()
    assert same.wait(20)


def test_a_thousand_leases_of_one_store_need_one_thread(until: Until) -> None:
    threads: list[int] = []
    renewals = [
        Renewal(0.003, lambda: bool(threads.append(threading.get_ident())), lane="a store")
        for _ in range(1000)
    ]
    assert until(lambda: len(threads) == len(renewals))
    # At times there was nothing to do, and the next thread may have the number of the last.
    assert until(lambda: not any(t.name == "proxystore-alarm" for t in threading.enumerate()))


def test_a_renewal_is_not_made_twice_at_once(until: Until) -> None:
    at_work, most = 0, 0

    def renew() -> bool:
        nonlocal at_work, most, n_left
        at_work += 1
        most, n_left = max(most, at_work), n_left - 1
        threading.Event().wait(0.005)
        at_work -= 1
        return n_left > 0

    n_left = 5
    lost = threading.Event()
    Renewal(0.003, renew, lane="a store", lost=lost.set)
    assert lost.wait(20)
    assert (1, 0) == (most, n_left)


@pytest.mark.parametrize(
    "error",
    [ConnectorUnavailableError("a server", "it is away", "Wait."), MediumFullError(3, 2, "Wait.")],
    ids=["away", "full"],
)
def test_a_medium_that_cannot_renew_now_is_asked_again(error: Exception, until: Until) -> None:
    n_calls = 0

    def renew() -> bool:
        nonlocal n_calls
        n_calls += 1
        raise error

    renewal = Renewal(0.003, renew, lane="a store")
    assert until(lambda: n_calls > 3)
    renewal.end()


def test_a_closed_store_ends_renewal_and_says_so() -> None:
    calls: list[str] = []
    lost = threading.Event()

    def renew() -> bool:
        calls.append("renew")
        raise StoreClosedError("a store")

    Renewal(0.003, renew, lane="a store", lost=lost.set)
    assert lost.wait(20)
    assert ["renew"] == calls


def test_what_a_call_raises_is_logged_and_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()

    def fail() -> None:
        raise SystemExit

    CLOCK.after(0, fail, lane="a store")
    CLOCK.after(0, done.set, lane="a store")
    assert done.wait(20)
    assert "A call in the background failed." in caplog.text


def test_a_renewal_ends_in_the_midst_of_a_garbage_collection(until: Until) -> None:
    class Held:
        def __init__(self) -> None:
            self.myself = self
            weakref.finalize(self, Renewal(3600, lambda: True, lane="a store").end)

    kept = [weakref.ref(Held()) for _ in range(10)]
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        # Each allocation collects, so some are collected while the clock has its lock.
        for _ in range(50):
            Renewal(3600, lambda: True, lane="a store").end()
    finally:
        gc.set_threshold(*threshold)
    assert not any(ref() for ref in kept)


def test_what_was_cancelled_is_not_kept_until_it_is_due(until: Until) -> None:
    alarms = list[weakref.ref[Alarm]]()
    for _ in range(10_000):
        alarm = CLOCK.after(3600, print, lane="a store")
        alarm.cancel()
        alarms.append(weakref.ref(alarm))
    del alarm
    assert until(lambda: sum(ref() is not None for ref in alarms) < 5000)


def test_a_forked_child_renews_nothing_of_its_parent_and_all_of_its_own(run: Any) -> None:
    child = run(
        "import os, threading\n"
        "from proxystore_patterns.lifetimes._renewal import Renewal\n"
        "mine, me = threading.Event(), os.getpid()\n"
        "def renew():\n"
        "    if os.getpid() != me: os._exit(7)\n"
        "    return True\n"
        "Renewal(0.03, renew, lane='a store')\n"
        "if (pid := os.fork()) == 0:\n"
        "    Renewal(0.3, lambda: mine.set(), lane='a store')\n"
        "    os._exit(0 if mine.wait(20) else 1)\n"
        "say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert 0 == child.hear()


def test_no_renewal_keeps_an_interpreter(run: Any) -> None:
    child = run(
        "import time\n"
        "from proxystore_patterns.lifetimes._renewal import Renewal\n"
        "began = __import__('threading').Event()\n"
        "Renewal(0.003, lambda: began.set() or time.sleep(3600), lane='a store')\n"
        "say(began.wait(20))"
    )
    assert child.hear()
    assert 0 == child.wait()
