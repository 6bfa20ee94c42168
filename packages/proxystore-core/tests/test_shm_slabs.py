"""Small objects in slabs never tear, leak or come back, whoever dies when."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from proxystore.connectors._file.layout import SLAB
from proxystore.connectors._shm.slab import Slab
from proxystore.connectors._shm.slabs import LARGEST_SLOT, Place
from proxystore.connectors.shm import ShmConnector, ShmKey
from proxystore.errors import CorruptObjectError, InvalidKeyError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="slabs need shared memory")

_OPEN = """
import os, signal, sys
from proxystore.connectors.shm import ShmConnector, ShmKey
connector = ShmConnector.from_url(sys.argv[1])
def pattern(number, nbytes): return bytes([number % 251]) * nbytes
"""


@pytest.fixture
def connector() -> Iterator[ShmConnector]:
    with ShmConnector() as connector:
        if connector.medium.value != "shared memory":
            pytest.skip("no usable shared memory")
        yield connector


@pytest.fixture
def start(connector: ShmConnector) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts another process with a connector to the same medium, ended with the test."""
    started = []

    def starting(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _OPEN + code, connector.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield starting
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]


def _pattern(number: int, nbytes: int) -> bytes:
    return bytes([number % 251]) * nbytes


def _path(connector: ShmConnector) -> Path:
    return Path(connector.config()["store_dir"])


def _slabs(connector: ShmConnector) -> list[str]:
    return sorted(name for name in os.listdir(_path(connector)) if name.startswith(SLAB))


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_thousand_small_objects_share_few_files(connector: ShmConnector) -> None:
    keys = [connector.put(_pattern(number, 100)) for number in range(1000)]
    assert len(os.listdir(_path(connector))) < 8
    assert [bytes(connector.get(key) or b"") for key in keys] == [
        _pattern(number, 100) for number in range(1000)
    ]


def test_the_slot_of_an_evicted_object_serves_the_next(connector: ShmConnector) -> None:
    keys = set()
    for number in range(100):
        key = connector.put(_pattern(number, 50))
        keys.add(key)
        connector.evict(key)
    assert len({key.slot for key in keys}) == 1
    assert len(keys) == 100


def test_an_evicted_object_stays_away_when_its_slot_is_given_out(
    connector: ShmConnector,
) -> None:
    old = connector.put(b"old")
    connector.evict(old)
    new = connector.put(b"new")
    assert (old.name, old.slot) == (new.name, new.slot)
    assert connector.get(old) is None
    assert not connector.exists(old)
    assert connector.generation(old) is None
    connector.evict(old)
    assert connector.get(new) == b"new"


def test_slots_that_others_evicted_are_given_out_again(
    connector: ShmConnector, run_python: Callable[..., Any]
) -> None:
    keys = [connector.put(_pattern(1, 60_000)) for _ in range(8)]
    slabs = _slabs(connector)
    with ShmConnector.from_url(connector.url) as other:
        for key in keys:
            other.evict(key)
    again = [connector.put(_pattern(2, 60_000)) for _ in range(8)]
    assert _slabs(connector) == slabs
    assert {key.slot for key in again} == {key.slot for key in keys}


@pytest.mark.slow
def test_no_reader_sees_half_of_an_object(
    connector: ShmConnector, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    writer = start("""
keys = [connector.put(pattern(0, 50_000))]
print(keys[0].name, flush=True)
for number in range(10**9):
    keys.append(connector.put(pattern(number, 50_000)))
    if len(keys) > 2:
        connector.evict(keys.pop(0))
""")
    name = _line(writer)
    slab = connector._open_slabs().slab(Place(name, 0, 0))
    assert slab is not None
    found = 0
    while found < 3000:
        for slot, generation, _, _ in slab.objects():
            data = connector.get(ShmKey(name, slot, generation))
            if data is not None:
                found += 1
                assert len(data) == 50_000
                assert data.count(data[0]) == len(data)  # type: ignore[union-attr]


class _Watched:
    """The words of a slab, with somebody who looks before each change."""

    def __init__(self, words: Any, look: Callable[[], None]) -> None:
        self.words, self.look = words, look

    def __getitem__(self, index: int) -> int:
        return int(self.words[index])

    def __setitem__(self, index: int, value: int) -> None:
        self.look()
        self.words[index] = value


class _Late(Slab):
    """Saw the object there, and was stopped before it copied the bytes."""

    __slots__ = ()

    def holds(self, slot: int, generation: int) -> bool:
        return True


def test_a_reader_that_began_before_a_write_finds_nothing(connector: ShmConnector) -> None:
    key = connector.put(_pattern(1, 50_000))
    slabs = connector._open_slabs()
    slab = _Late.attach(os.open(_path(connector) / (SLAB + key.name), os.O_RDWR), key.name)
    connector.evict(key)
    seen = []
    writing = slabs._mapped[key.name]
    writing._words = _Watched(  # type: ignore[assignment]
        writing._words, lambda: seen.append(slab.read(key.slot, key.generation))
    )
    connector.put(_pattern(2, 50_000))
    assert seen == [_pattern(1, 50_000), None, None, None]


@pytest.mark.slow
@pytest.mark.parametrize("nbytes", [100, 60_000])
def test_writers_killed_at_any_time_leave_whole_objects_only(
    connector: ShmConnector, start: Callable[[str], subprocess.Popen[str]], nbytes: int
) -> None:
    for delay in range(4):
        writer = start(f"""
number = 0
while True:
    key = connector.put(pattern(number, {nbytes}))
    print(key.name, key.slot, key.generation, number % 251, flush=True)
    if number % 3 == 0:
        connector.evict(key)
        print(key.name, key.slot, key.generation, -1, flush=True)
    number += 1
""")
        assert writer.stdout is not None
        lines = [_line(writer) for _ in range(40 + delay)]
        os.kill(writer.pid, signal.SIGKILL)
        lines += writer.stdout.read().splitlines(keepends=False)
        last: dict[ShmKey, int] = {}
        for line in lines:
            words = line.split()
            if len(words) == 4:
                last[ShmKey(words[0], int(words[1]), int(words[2]))] = int(words[3])
        final = list(last)[-1]
        for key, number in last.items():
            found = connector.get(key)
            if number >= 0 and key != final:
                assert found == _pattern(number, nbytes)
            elif key != final:
                assert found is None


def test_the_slots_of_a_dead_process_are_given_out_again(
    connector: ShmConnector, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    writer = start("""
keys = [connector.put(pattern(number, 60_000)) for number in range(8)]
for key in keys[:4]:
    connector.evict(key)
print(*(f"{key.name} {key.slot} {key.generation}" for key in keys), sep=",", flush=True)
sys.stdin.read()
""")
    keys = [
        ShmKey(words[0], int(words[1]), int(words[2]))
        for words in (text.split() for text in _line(writer).split(","))
    ]
    mine = connector.put(b"\x00" * 60_000)
    assert mine.name != keys[0].name
    writer.kill()
    writer.wait()
    # Fills what is left of its own slab, then that of the dead process.
    new = [connector.put(_pattern(9, 60_000)) for _ in range(11)]
    assert {key.slot for key in new if key.name == keys[0].name} == {0, 1, 2, 3}
    for number, key in enumerate(keys):
        assert connector.get(key) == (None if number < 4 else _pattern(number, 60_000))


def test_slabs_of_dead_processes_are_collected_once_they_are_empty(
    connector: ShmConnector, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    writer = start("""
key = connector.put(b"x")
print(key.name, key.slot, key.generation, flush=True)
sys.stdin.read()
""")
    name, slot, generation = _line(writer).split()
    slabs = connector._open_slabs()
    assert slabs.collect() == (0, 0)
    writer.kill()
    writer.wait()
    assert slabs.collect() == (0, 0)
    connector.evict(ShmKey(name, int(slot), int(generation)))
    assert slabs.collect()[1] > 0
    assert _slabs(connector) == []


def test_a_forked_child_gives_out_slots_of_its_own(connector: ShmConnector) -> None:
    keys = [connector.put(_pattern(1, 100)) for _ in range(3)]
    connector.evict(keys[0])
    receiving, sending = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        try:
            sending.send([tuple(connector.put(_pattern(2, 100))) for _ in range(3)])
        finally:
            os._exit(0)
    theirs = [ShmKey(*fields) for fields in receiving.recv()]
    mine = [connector.put(_pattern(3, 100)) for _ in range(3)]
    os.waitpid(child, 0)
    assert not set(theirs) & set(mine)
    assert [connector.get(key) for key in theirs] == [_pattern(2, 100)] * 3
    assert [connector.get(key) for key in mine] == [_pattern(3, 100)] * 3
    assert [connector.get(key) for key in keys[1:]] == [_pattern(1, 100)] * 2


def test_a_child_forked_while_a_thread_stores_can_store(connector: ShmConnector) -> None:
    slabs = connector._open_slabs()
    connector.put(b"first")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with slabs.changing:
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    child = os.fork()
    if child == 0:
        os._exit(0 if slabs.changing.depth == 0 and connector._open_slabs() is slabs else 1)
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


class _Evicting:
    """Evicts an object when it is collected, as owned proxies and lifetimes do."""

    def __init__(self, connector: ShmConnector, key: ShmKey) -> None:
        self.itself = self
        weakref.finalize(self, connector.evict, key)


def test_a_finalizer_may_evict_in_the_midst_of_a_put(connector: ShmConnector) -> None:
    threshold = gc.get_threshold()
    expected = {}
    try:
        gc.set_threshold(1)
        for number in range(300):
            _Evicting(connector, connector.put(b"goes"))
            expected[connector.put(_pattern(number, 300))] = _pattern(number, 300)
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert len(expected) == 300
    assert all(connector.get(key) == data for key, data in expected.items())


def test_a_put_that_interrupts_another_takes_a_file_of_its_own(connector: ShmConnector) -> None:
    with connector._open_slabs().changing:
        key = connector.put(b"in between")
    assert key.slot == -1
    assert connector.get(key) == b"in between"


def test_small_objects_go_when_the_directory_is_cleared() -> None:
    with ShmConnector() as owner:
        other = ShmConnector.from_url(owner.url)
        key = owner.put(b"small")
        assert other.get(key) == b"small"
        Path(owner.config()["store_dir"], "of others").touch()
        owner.close()
        assert other.get(key) is None
        assert not other.exists(key)
        new = other.put(b"later")
        assert other.get(new) == b"later"
        other.close()
    _remove(Path(owner.config()["store_dir"]))


def _remove(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:10],
        lambda data: b"\x00" * 4096,
        lambda data: data[:8] + b"\xff" * 8 + data[16:],
        lambda data: data[:4096],
    ],
)
def test_a_damaged_slab_is_told_and_never_read(
    connector: ShmConnector, damage: Callable[[bytes], bytes]
) -> None:
    key = connector.put(b"x")
    path = _path(connector) / (SLAB + key.name)
    other = ShmConnector.from_url(connector.url)
    damaged = damage(path.read_bytes())
    path.unlink()
    path.write_bytes(damaged)
    with pytest.raises(CorruptObjectError):
        other.get(key)
    connector.put(b"y")


def test_words_of_nonsense_are_absent_objects(connector: ShmConnector) -> None:
    key = connector.put(b"x")
    slab = connector._open_slabs().slab(Place(*key))
    assert isinstance(slab, Slab)
    slab._words[1] = (1 << 64) - 1
    assert connector.get(key) is None
    slab._words[1] = LARGEST_SLOT * 2
    assert connector.get(key) is None
    slab._words[0] = (1 << 64) - 1
    slab._words[2] = (1 << 64) - 1
    assert 0 not in slab.free_slots()


@pytest.mark.parametrize(
    "key",
    [
        ShmKey("../x", 0, 1),
        ShmKey("x", 0, 0),
        ShmKey("x", 0, -1),
        ShmKey("x", -2, 1),
        ShmKey("x", -1, 1),
        ShmKey("x", 0, 1 << 63),
        ShmKey("x", 0.0, 1),  # type: ignore[arg-type]
        ShmKey("x", True, 1),
        ShmKey(1, 0, 1),  # type: ignore[arg-type]
    ],
)
def test_a_malformed_key_is_refused(connector: ShmConnector, key: ShmKey) -> None:
    for operation in (connector.get, connector.exists, connector.evict):
        with pytest.raises(InvalidKeyError):
            operation(key)


@pytest.mark.parametrize("slot", [7, 1 << 20, 1 << 62])
def test_a_slot_that_the_slab_lacks_is_absent(connector: ShmConnector, slot: int) -> None:
    key = connector.put(b"x" * 60_000)._replace(slot=slot)
    assert connector.get(key) is None
    assert not connector.exists(key)
    connector.evict(key)


def test_half_a_replace_does_not_stop_the_next(connector: ShmConnector) -> None:
    key = connector.put(b"old")
    moved = f".moved-{key.name}-{key.slot}-{key.generation}"
    (_path(connector) / moved).write_bytes(b"half")
    assert connector.get(key) == b"old"
    connector.replace(key, b"new")
    assert connector.get(key) == b"new"
