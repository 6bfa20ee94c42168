"""What a forked child makes anew."""

from __future__ import annotations

import gc
import os
import threading
import weakref

import pytest

from proxystore.host.forks import no_fork, remake_in_child

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


class Watched:
    pid = os.getpid()

    def remade_in_child(self) -> None:
        self.pid = os.getpid()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_remakes_what_was_watched_and_the_parent_does_not() -> None:
    watched = Watched()
    remake_in_child(watched)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os._exit(0 if watched.pid == os.getpid() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert watched.pid == parent


def test_watching_keeps_nothing_alive() -> None:
    watched = Watched()
    remake_in_child(watched)
    reference = weakref.ref(watched)
    del watched
    gc.collect()
    assert reference() is None


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_no_fork_comes_in_between() -> None:
    order: list[str] = []
    begun = threading.Event()

    def fork() -> None:
        begun.set()
        child = os.fork()
        if child == 0:
            os._exit(0)
        order.append("forked")
        os.waitpid(child, 0)

    forking = threading.Thread(target=fork)
    with no_fork():
        forking.start()
        begun.wait(10)
        forking.join(0.05)
        order.append("left")
    forking.join(10)
    assert ["left", "forked"] == order


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_who_holds_forks_back_can_fork_itself() -> None:
    with no_fork():
        child = os.fork()
        if child == 0:
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
