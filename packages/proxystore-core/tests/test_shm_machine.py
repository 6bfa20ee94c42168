"""Whatever is done in whatever order, and whoever is killed, shared memory is as a dict."""

from __future__ import annotations

import builtins
import gc as garbage
import os
import random
import shutil
import signal
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxystore.connectors._file.layout import SLAB, is_object
from proxystore.connectors._shm.spill import collect_spilled
from proxystore.connectors.shm import ShmConnector, ShmKey
from proxystore.errors import KeyAlreadySetError, KeyNotSetError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs shared memory")

BOUND = 3_000_000
# Slots of slabs, files that are filled again, and what soon has no room in memory.
SIZES = st.sampled_from([0, 1, 128, 5000, 65_536, 70_000, 90_000, 100_000, 400_000, 1_200_000])
NUMBERS = st.integers(0, 250)
PICKS = st.integers(0, 1000)


def _pattern(number: int, nbytes: int) -> bytes:
    return bytes([number % 251]) * nbytes


def _work_until_killed(connector: ShmConnector, writing: int, seed: int) -> None:
    """Put, and evict every third, and say so: what is put once it is, what goes before it does."""
    rng = random.Random(seed)
    for number in range(10**6):
        nbytes = rng.choice((10, 5000, 60_000, 70_000, 400_000))
        key = connector.put(_pattern(number, nbytes))
        os.write(writing, f"{' '.join(map(str, key))} {number} {nbytes}\n".encode())
        if number % 3 == 0:
            os.write(writing, f"{' '.join(map(str, key))} -1 0\n".encode())
            connector.evict(key)


class Machine(RuleBasedStateMachine):
    """Objects come and go through an owner, a guest and processes that are killed."""

    def __init__(self) -> None:
        super().__init__()
        warnings.simplefilter("ignore", RuntimeWarning)
        self.tempdir = tempfile.tempdir
        self.disk = tempfile.tempdir = tempfile.mkdtemp()
        self.owner = ShmConnector(max_nbytes=BOUND)
        self.guest = ShmConnector.from_url(self.owner.url)
        self.path = Path(self.owner.config()["store_dir"])
        self.objects: dict[ShmKey, bytes] = {}
        self.gone: list[ShmKey] = []
        self.uncertain: set[ShmKey] = set()
        self.views: list[tuple[Any, bytes]] = []

    def _side(self, *, first: bool) -> ShmConnector:
        return self.owner if first else self.guest

    def _picked(self, pick: int) -> ShmKey:
        # By number: what there is depends on how far a process came before it was killed.
        if not self.objects:
            self.put(first=True, size=5, number=5, leased=False)
        return list(self.objects)[pick % len(self.objects)]

    @rule(first=st.booleans(), size=SIZES, number=NUMBERS, leased=st.booleans())
    def put(self, first: bool, size: int, number: int, leased: bool) -> None:
        data = _pattern(number, size)
        key = self._side(first=first).put(data, ttl=3600 if leased else None)
        assert key not in self.objects
        assert key not in self.gone
        self.objects[key] = data

    @rule(first=st.booleans(), size=SIZES, number=NUMBERS)
    def set(self, first: bool, size: int, number: int) -> None:
        side = self._side(first=first)
        key = side.new_key()
        side.set(key, _pattern(number, size))
        self.objects[key] = _pattern(number, size)
        with pytest.raises(KeyAlreadySetError):
            self._side(first=not first).set(key, b"again")

    @rule(first=st.booleans(), pick=PICKS)
    def view(self, first: bool, pick: int) -> None:
        key = self._picked(pick)
        self.views.append((self._side(first=first).get(key), self.objects[key]))

    @rule()
    def drop(self) -> None:
        self.views = self.views[1:]

    @rule(first=st.booleans(), pick=PICKS)
    def evict(self, first: bool, pick: int) -> None:
        key = self._picked(pick)
        self._side(first=first).evict(key)
        del self.objects[key]
        self.gone.append(key)

    @rule(first=st.booleans(), pick=PICKS, size=SIZES, number=NUMBERS)
    def put_in_place_of_what_is_viewed(
        self, first: bool, pick: int, size: int, number: int
    ) -> None:
        self.view(first=first, pick=pick)
        self.evict(first=first, pick=pick)
        self.put(first=first, size=size, number=number, leased=False)

    @rule(first=st.booleans(), pick=PICKS, size=SIZES, number=NUMBERS)
    def replace(self, first: bool, pick: int, size: int, number: int) -> None:
        key, side = self._picked(pick), self._side(first=first)
        before = side.generation(key)
        side.replace(key, _pattern(number, size))
        self.objects[key] = _pattern(number, size)
        assert side.generation(key) not in {None, before}

    @rule(first=st.booleans(), pick=PICKS)
    def touch(self, first: bool, pick: int) -> None:
        assert self._side(first=first).touch(self._picked(pick), 3600)

    @rule(first=st.booleans(), pick=PICKS)
    def change_what_is_gone(self, first: bool, pick: int) -> None:
        if not self.gone:
            return
        key, side = self.gone[pick % len(self.gone)], self._side(first=first)
        side.evict(key)
        assert not side.touch(key, 1)
        with pytest.raises(KeyNotSetError):
            side.replace(key, b"x")

    @rule()
    def reopen(self) -> None:
        self.guest.close()
        self.guest = ShmConnector.from_url(self.owner.url)

    @rule(lines=st.integers(0, 6), seed=st.integers(0, 1000), inherited=st.booleans())
    def kill_a_process_at_work(self, lines: int, seed: int, inherited: bool) -> None:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            url = self.owner.url
            _work_until_killed(
                self.owner if inherited else ShmConnector.from_url(url), writing, seed
            )
        os.close(writing)
        with open(reading, encoding="ascii") as pipe:
            said = [pipe.readline() for _ in range(lines)]
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            said += pipe.readlines()
        for line in said:
            name, slot, generation, number, nbytes = line.split()
            key = ShmKey(name, int(slot), int(generation))
            if int(number) >= 0:
                self.objects[key] = _pattern(int(number), int(nbytes))
            else:
                del self.objects[key]
                self.gone.append(key)
        if said and said[-1].endswith(" -1 0\n"):
            # Killed before or after it went.
            self.uncertain.add(self.gone.pop())

    @rule(first=st.booleans())
    def gc(self, first: bool) -> None:
        self._side(first=first).gc()

    @invariant()
    def what_is_there_is_what_was_put(self) -> None:
        for side in (self.owner, self.guest):
            for key, data in self.objects.items():
                assert side.get(key) == data
            for key in self.gone[-10:]:
                assert side.get(key) is None
                assert not side.exists(key)
        assert {entry.key for entry in self.owner.entries()} >= set(self.objects)
        assert all(view == data for view, data in self.views)

    @invariant()
    def every_byte_is_explained_and_within_the_bound(self) -> None:
        taken = sum(path.lstat().st_blocks * 512 for path in self.path.iterdir())
        assert self.owner.census().uses.total() == taken
        assert taken <= BOUND + 8 * 4096

    def _slabs_of_owner(self) -> builtins.set[str]:
        classes = self.owner._open_slabs()._classes.values()
        return {SLAB + name for each in classes for name in each.slabs}

    def teardown(self) -> None:
        self.views.clear()
        for entry in list(self.owner.entries()):
            # Those of processes that were killed before they could tell are whole.
            found = bytes(self.owner.get(entry.key) or b"?")
            assert found == found[:1] * len(found)
            self.owner.evict(entry.key)
        # Gives back the slots that it took of dead processes.
        self.guest.close()
        for path in self.path.glob(".tmp-*"):
            os.utime(path, (1, 1), follow_symlinks=False)
        self.owner.gc()
        left = [path.name for path in self.path.iterdir()]
        assert not [name for name in left if is_object(name)]
        assert not [name for name in left if name.startswith((".tmp-", ".free-", ".moved-"))]
        assert {name for name in left if name.startswith(SLAB)} <= self._slabs_of_owner()
        self.owner.close()
        assert not self.path.exists()
        # Begun by who was killed before he could say for which memory.
        for path in Path(self.disk).glob("*/*"):
            os.utime(path, (1, 1))
        collect_spilled()
        assert not list(Path(self.disk).glob("*/*"))
        shutil.rmtree(self.disk)
        tempfile.tempdir = self.tempdir
        garbage.collect()
        kept = [Path("/proc/self/maps").read_text()]
        for fd in Path("/proc/self/fd").iterdir():
            # Of the listing itself.
            with suppress(FileNotFoundError):
                kept.append(os.readlink(fd))
        assert not [each for each in kept if self.path.name in each]


TestMachine = pytest.mark.slow(Machine.TestCase)
# Not made smaller when it fails: how far a process comes before it is killed is never the same.
TestMachine.settings = settings(
    max_examples=20, stateful_step_count=30, deadline=None, phases=[Phase.generate]
)
