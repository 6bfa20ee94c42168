"""What a forked child makes anew."""

from __future__ import annotations

import gc
import os
import weakref

import pytest

from proxystore.host.forks import remake_in_child

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
