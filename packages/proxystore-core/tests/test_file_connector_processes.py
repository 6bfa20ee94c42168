"""One directory, several processes: owners, forked children, readers beside writers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from proxystore.connectors.file import FileConnector, FileKey
from proxystore.errors import KeyAlreadySetError, MediumGoneError, NotOwnerError

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def in_forked_child(action: Callable[[], object]) -> None:
    """Run ``action`` in a forked child, and fail if it fails there."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def in_new_process(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_another_process_reads_what_the_config_or_the_url_names(tmp_path: Path) -> None:
    code = (
        "import json, sys\n"
        "from proxystore.connectors.file import FileConnector, FileKey\n"
        "with FileConnector.from_config(json.loads(sys.argv[1])) as connector:\n"
        "    print(bytes(connector.get(FileKey(sys.argv[3]))))\n"
        "with FileConnector.from_url(sys.argv[2]) as connector:\n"
        "    print(bytes(connector.get(FileKey(sys.argv[3]))))\n"
    )
    with FileConnector(tmp_path / "objects") as connector:
        key = connector.put(b"x")
        printed = in_new_process(code, json.dumps(connector.config()), connector.url, key.filename)
        assert printed == "b'x'\nb'x'\n"
        assert connector.get(key) == b"x", "the other process closed its copy"


def test_a_second_connector_in_the_same_process_owns_nothing(tmp_path: Path) -> None:
    with FileConnector(tmp_path / "objects") as owner:
        second = FileConnector(tmp_path / "objects")
        with pytest.raises(NotOwnerError):
            second.close(clear=True)
        second.close()
        with pytest.raises(NotOwnerError, match="adopt=True if its owner is gone"):
            FileConnector(tmp_path / "objects", adopt=True)
        assert owner.get(owner.put(b"x")) == b"x"


def started(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A process that has said "ready" and goes on when its standard input says "go"."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"print('ready', flush=True)\ninput()\n{code}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert said(process) == "ready"
    return process


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


CREATOR = """
import sys
from proxystore.connectors.file import FileConnector
print("imported", flush=True)
input()
connector = FileConnector(sys.argv[1])
print(connector.is_owner, flush=True)
input()
"""


@pytest.mark.slow
def test_of_several_processes_that_create_one_directory_exactly_one_owns_it(
    tmp_path: Path,
) -> None:
    processes = [started(CREATOR, str(tmp_path / "objects")) for _ in range(3)]
    for process in processes:
        go(process)
        assert said(process) == "imported"
    for process in processes:
        go(process)
    # All are open at once: none ends before it is told to.
    assert sorted(said(process) for process in processes) == ["False", "False", "True"]
    for process in processes:
        process.communicate("go\n", timeout=60)
        assert process.returncode == 0


def test_of_several_threads_that_create_one_directory_exactly_one_owns_it(tmp_path: Path) -> None:
    for attempt in range(20):
        together, made = threading.Barrier(4), []

        def create(path: Path = tmp_path / str(attempt)) -> None:
            together.wait(30)
            made.append(FileConnector(path))

        threads = [threading.Thread(target=create) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(connector.is_owner for connector in made) == [False] * 3 + [True]


@needs_fork
class TestForkedChildren:
    def test_a_child_that_closes_clears_nothing(self, tmp_path: Path) -> None:
        with FileConnector(tmp_path / "objects") as connector:
            key = connector.put(b"x")
            in_forked_child(connector.close)
            assert connector.get(key) == b"x"
            assert connector.is_owner

    def test_a_child_may_not_clear(self, tmp_path: Path) -> None:
        def clear() -> None:
            with pytest.raises(NotOwnerError):
                connector.close(clear=True)

        with FileConnector(tmp_path / "objects") as connector:
            in_forked_child(clear)

    def test_a_child_does_not_free_the_lock_of_its_parent(self, tmp_path: Path) -> None:
        with FileConnector(tmp_path / "objects") as connector:
            in_forked_child(connector.close)
            with pytest.raises(NotOwnerError):
                FileConnector(tmp_path / "objects", adopt=True)

    def test_a_child_does_not_keep_the_lock_of_its_parent(self, tmp_path: Path) -> None:
        owner = FileConnector(tmp_path / "objects", clear=False)

        def adopt() -> None:
            os.read(reader, 1)
            with FileConnector(tmp_path / "objects", adopt=True) as adopted:
                assert adopted.is_owner

        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                adopt()
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        owner.close()
        os.write(writer, b"x")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        os.close(reader)
        os.close(writer)

    def test_parent_and_child_never_make_the_same_key(self, tmp_path: Path) -> None:
        with FileConnector(tmp_path / "objects") as connector:
            in_forked_child(lambda: connector.put_batch([b"child"] * 50))
            connector.put_batch([b"parent"] * 50)
            assert len(list(connector.entries())) == 100

    def test_a_view_stays_in_parent_and_child(self, tmp_path: Path) -> None:
        with FileConnector(tmp_path / "objects") as connector:
            key = connector.put(bytes(1 << 20))
            view = memoryview(connector.get(key))

            def change() -> None:
                assert view == bytes(1 << 20)
                view[:] = b"c" * len(view)

            in_forked_child(change)
            assert view == bytes(1 << 20)
            assert connector.get(key) == bytes(1 << 20)


def test_the_owners_close_is_noticed_by_everybody_else(tmp_path: Path) -> None:
    owner = FileConnector(tmp_path / "objects")
    other = FileConnector.from_config(owner.config())
    key = other.put(b"x")
    owner.close()
    with pytest.raises(MediumGoneError, match="Its owner closed it"):
        other.get(key)
    with pytest.raises(MediumGoneError):
        other.put(b"y")


@pytest.mark.parametrize(
    "use",
    [
        lambda c, key: c.get(key) == b"x",
        lambda c, key: c.get_range(key, 0, 1) == b"x",
        lambda c, key: c.exists(key),
        lambda c, key: c.generation(key),
        lambda c, key: c.touch(key, None),
        lambda c, key: c.put(b"y"),
        lambda c, key: c.set(FileKey("b"), b"y") is None,
        lambda c, key: c.replace(key, b"y") is None,
        lambda c, key: c.gc() == (0, 0, 0),
        lambda c, key: len(list(c.entries())) == 1,
        lambda c, key: c.evict(key) is None and not c.exists(key),
    ],
)
def test_those_attached_to_a_directory_find_the_next_one_that_is_made_in_its_place(
    tmp_path: Path, use: Callable[[FileConnector, FileKey], object]
) -> None:
    first = FileConnector(tmp_path / "objects")
    worker = FileConnector.from_url(first.url)
    old = worker.put(b"old")
    first.close()
    with FileConnector(tmp_path / "objects") as second:
        key = second.put(b"x")
        assert use(worker, key)
        assert worker.get(old) is None


REPLACER = """
import sys
from proxystore.connectors.file import FileConnector, FileKey
connector = FileConnector.from_url(sys.argv[1])
for n in range(2000):
    connector.replace(FileKey(sys.argv[2]), bytes([n % 256]) * (70_000 if n % 2 else 3000))
"""


@pytest.mark.slow
def test_readers_beside_a_writer_see_whole_objects_only(tmp_path: Path) -> None:
    with FileConnector(tmp_path / "objects") as connector:
        key = connector.put(bytes(3000))
        writer = started(REPLACER, connector.url, key.filename)
        go(writer)
        seen = set()
        while writer.poll() is None:
            data = connector.get(key)
            assert data is not None
            whole = bytes(data)
            assert len(whole) in {3000, 70_000}
            assert whole.count(whole[0]) == len(whole)
            seen.add(whole[0])
        writer.communicate(timeout=60)
        assert writer.returncode == 0
        assert len(seen) > 1


@pytest.mark.slow
def test_of_many_threads_that_set_one_key_exactly_one_wins_even_as_it_expires(
    tmp_path: Path,
) -> None:
    with FileConnector(tmp_path / "objects") as connector:
        for _ in range(50):
            key = connector.put(b"old", ttl=60)
            os.utime(tmp_path / "objects" / key.filename, (1, 1))
            won: list[bytes] = []
            together = threading.Barrier(4)

            def set_it(
                data: bytes,
                key: FileKey = key,
                won: list[bytes] = won,
                together: threading.Barrier = together,
            ) -> None:
                together.wait(30)
                try:
                    connector.set(key, data)
                except KeyAlreadySetError:
                    return
                won.append(data)

            threads = [threading.Thread(target=set_it, args=(b"%d" % n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
            assert won == [connector.get(key)]
