"""Full media, vanished and unsafe directories, writers that die: nothing reported is lost."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxystore.connectors.file import Collected, FileConnector, FileKey
from proxystore.errors import (
    ConfigError,
    ConnectorUnavailableError,
    MediumFullError,
    MediumGoneError,
    ProxyStoreError,
    UnsafeDirectoryError,
)

CHUNK = bytes(range(256)) * 256


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small mount: {' '.join(command)}: {done.stderr.strip()}")


def mount(*arguments: str) -> None:
    run("mount", *arguments)


def unmount(where: Path) -> None:
    subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.fixture(params=["tmpfs", "ext4"])
def small_mount(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty file system of a few MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    where = tmp_path / "mount"
    where.mkdir()
    if request.param == "tmpfs":
        mount("-t", "tmpfs", "-o", "size=4m", "none", str(where))
    else:
        image = tmp_path / "image"
        with image.open("wb") as file:
            file.truncate(8 << 20)
        run("mkfs.ext4", "-q", "-O", "^has_journal", str(image))
        mount("-o", "loop", str(image), str(where))
    try:
        yield where
    finally:
        unmount(where)


@pytest.mark.slow
def test_a_full_medium_is_reported_and_what_was_stored_stays(small_mount: Path) -> None:
    with FileConnector(small_mount / "objects") as connector:
        stored = []
        with pytest.raises(MediumFullError, match=r"65536 bytes in .*objects.* Evict objects"):
            for _ in range(1000):
                stored.append(connector.put(CHUNK))
        assert len(stored) > 10
        assert all(connector.get(key) == CHUNK for key in stored)
        assert {entry.key for entry in connector.entries()} == set(stored)
        assert not list((small_mount / "objects").glob(".tmp-*"))
        connector.evict(stored[0])
        connector.evict(stored[1])
        connector.put(CHUNK)


@pytest.mark.slow
def test_an_object_larger_than_the_medium_leaves_room_for_others(small_mount: Path) -> None:
    with FileConnector(small_mount / "objects") as connector:
        with pytest.raises(MediumFullError, match="No room for an object of 16777216 bytes"):
            connector.put(bytes(16 << 20))
        assert connector.get(connector.put(CHUNK)) == CHUNK


@pytest.mark.slow
def test_a_replace_without_room_keeps_the_older_generation(small_mount: Path) -> None:
    with FileConnector(small_mount / "objects") as connector:
        key = connector.put(CHUNK)
        generation = connector.generation(key)
        with pytest.raises(MediumFullError):
            connector.replace(key, bytes(16 << 20))
        assert connector.get(key) == CHUNK
        assert connector.generation(key) == generation
        assert not list((small_mount / "objects").glob(".tmp-*"))


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_medium_that_can_hold_no_more_files_still_gives_its_own_back(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    mount("-t", "tmpfs", "-o", "size=4m,nr_inodes=16", "none", str(tmp_path / "mount"))
    try:
        with FileConnector(tmp_path / "mount" / "objects") as connector:
            stored = [connector.put(b"leased", ttl=3600)]
            with pytest.raises(MediumFullError):
                for _ in range(1000):
                    stored.append(connector.put(b"x"))
            assert connector.touch(stored[0], 7200)
            for key in stored:
                connector.evict(key)
            assert connector.get(connector.put(b"y", ttl=3600)) == b"y"
    finally:
        unmount(tmp_path / "mount")


def test_a_full_medium_error_survives_pickling() -> None:
    error = MediumFullError("/x", 5, "Evict objects.")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    "use",
    [
        lambda c: c.put(b"x"),
        lambda c: c.get(FileKey("a")),
        lambda c: c.exists(FileKey("a")),
        lambda c: c.set(FileKey("a"), b"x"),
        lambda c: c.generation(FileKey("a")),
        lambda c: c.replace(FileKey("a"), b"x"),
        lambda c: c.touch(FileKey("a"), 1),
        lambda c: list(c.entries()),
        lambda c: c.gc(),
    ],
)
def test_a_directory_that_vanished_is_missed_by_name(
    tmp_path: Path, use: Callable[[FileConnector], object]
) -> None:
    connector = FileConnector(tmp_path / "objects")
    shutil.rmtree(tmp_path / "objects")
    with pytest.raises(MediumGoneError, match=str(tmp_path / "objects")):
        use(connector)


def test_a_directory_that_never_was_is_missed_with_the_call_that_makes_it(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    with pytest.raises(MediumGoneError, match="or it never existed") as caught:
        FileConnector.from_config({"store_dir": absent}).get(FileKey("a"))
    assert f"FileConnector({absent!r})" in str(caught.value)
    assert "Its owner closed it" in str(caught.value)


def test_a_vanished_directory_holds_nothing_to_evict_and_closes(tmp_path: Path) -> None:
    connector = FileConnector(tmp_path / "objects")
    shutil.rmtree(tmp_path / "objects")
    connector.evict(FileKey("a"))
    connector.close()


def test_a_directory_made_again_is_not_taken_for_the_one_that_vanished(tmp_path: Path) -> None:
    connector = FileConnector(tmp_path / "objects")
    shutil.rmtree(tmp_path / "objects")
    with FileConnector(tmp_path / "objects") as second:
        second.set(FileKey("a"), b"x")
        with pytest.raises(MediumGoneError):
            connector.get(FileKey("a"))
        connector.close()
        assert second.get(FileKey("a")) == b"x"


def test_a_path_with_a_null_character_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="null character"):
        FileConnector("a\0b")


class TestUnsafeDirectories:
    def test_a_symbolic_link_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir(mode=0o700)
        (tmp_path / "link").symlink_to(tmp_path / "real")
        with pytest.raises(UnsafeDirectoryError, match="symbolic link"):
            FileConnector(tmp_path / "link")

    def test_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(UnsafeDirectoryError, match="not a directory"):
            FileConnector(tmp_path / "file")

    @pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
    def test_a_directory_others_can_write_to_is_refused(self, tmp_path: Path, mode: int) -> None:
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(mode)
        with pytest.raises(UnsafeDirectoryError, match=f"mode {mode:04o}"):
            FileConnector(tmp_path / "open")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
    def test_a_directory_of_another_user_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "theirs").mkdir(mode=0o700)
        os.chown(tmp_path / "theirs", 12345, 12345)
        with pytest.raises(UnsafeDirectoryError, match="belongs to user 12345"):
            FileConnector.from_config({"store_dir": str(tmp_path / "theirs")}).put(b"x")

    def test_a_link_in_place_of_an_object_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("secret")
        with FileConnector(tmp_path / "objects") as connector:
            (tmp_path / "objects" / "a").symlink_to(tmp_path / "secret")
            with pytest.raises(ConnectorUnavailableError):
                connector.get(FileKey("a"))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_directory_that_cannot_be_made_is_reported(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(ConnectorUnavailableError, match="Permission denied"):
            FileConnector(tmp_path / "objects")

    @pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
    @pytest.mark.parametrize("path", ["/proc/nope", "/proc/nope/objects"])
    def test_a_place_that_takes_no_directory_is_reported(self, path: str) -> None:
        with pytest.raises(ConnectorUnavailableError, match=f"{path}: .*cannot be created there"):
            FileConnector(path)


# Stops before the given system call of the second put, and waits to be killed.
WRITER = """
import os, sys
from proxystore.connectors.file import FileConnector, FileKey
directory, step, acknowledge = sys.argv[1:]
connector = FileConnector(directory, acknowledge=acknowledge)
print(connector.put(b"first").filename)
if step != "return":
    def stop(*args, **kwargs):
        print("stopped", flush=True)
        sys.stdin.read()
    setattr(os, step, stop)
print(connector.put(bytes(100_000), ttl=3600).filename)
print("stopped", flush=True)
sys.stdin.read()
"""


def killed_at(directory: Path, step: str, acknowledge: str) -> list[FileKey]:
    """Kill a writer at ``step`` and tell what it had reported as stored."""
    command = [sys.executable, "-c", WRITER, str(directory), step, acknowledge]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = list(iter(lambda: process.stdout.readline().strip(), "stopped"))
        process.kill()
        process.wait(30)
    return [FileKey(line) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("acknowledge", ["process", "disk"])
@pytest.mark.parametrize(
    ("step", "reported", "orphans"),
    [("writev", 1, 1), ("utime", 1, 1), ("fchmod", 1, 1), ("rename", 1, 1), ("return", 2, 0)],
)
def test_a_writer_killed_at_any_step_loses_nothing_reported_and_shows_nothing_else(
    tmp_path: Path, acknowledge: str, step: str, reported: int, orphans: int
) -> None:
    directory = tmp_path / "objects"
    keys = killed_at(directory, step, acknowledge)
    connector = FileConnector.from_config({"store_dir": str(directory)})
    assert len(keys) == reported
    assert [connector.get(key) for key in keys] == [b"first", bytes(100_000)][:reported]
    assert {entry.key for entry in connector.entries()} == set(keys)
    temporaries = list(directory.glob(".tmp-*"))
    assert len(temporaries) == orphans

    if step in {"writev", "utime"}:
        assert connector.gc().orphans == 0, "its writer may not have locked it yet"
    for path in temporaries:
        os.utime(path, (1, 1))
    assert connector.gc() == Collected(
        orphans, 0, sum(100_000 if step != "writev" else 0 for _ in temporaries)
    )
    assert not list(directory.glob(".tmp-*"))
    assert [connector.get(key) for key in keys] == [b"first", bytes(100_000)][:reported]
    with FileConnector(directory, adopt=True) as adopted:
        assert adopted.is_owner, "the dead owner holds no lock"


# Stores, then changes the object in the given way, and stops at the given system call of that.
CHANGER = """
import os, sys
from proxystore.connectors.file import FileConnector, FileKey
directory, change, step = sys.argv[1:]
connector = FileConnector(directory)
connector.set(FileKey("kept"), b"older")
original = getattr(os, step)
def stop(*args, **kwargs):
    if change == "set-then-stop":
        original(*args, **kwargs)
    print("stopped", flush=True)
    sys.stdin.read()
setattr(os, step, stop)
if change == "replace":
    connector.replace(FileKey("kept"), bytes(100_000))
else:
    connector.set(FileKey("new"), b"new")
"""


@contextmanager
def stopped(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has come to the step at which it says "stopped"; killed if it is not ended."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "stopped" in iter(lambda: process.stdout.readline().strip(), "")
        yield process
        process.kill()
        process.wait(30)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["writev", "utime", "rename"])
def test_a_replace_killed_at_any_step_keeps_the_older_object_and_no_lock(
    tmp_path: Path, step: str
) -> None:
    with stopped(CHANGER, str(tmp_path / "objects"), "replace", step):
        pass
    connector = FileConnector.from_config({"store_dir": str(tmp_path / "objects")})
    assert connector.get(FileKey("kept")) == b"older"
    connector.replace(FileKey("kept"), b"newer")
    assert connector.get(FileKey("kept")) == b"newer"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "step", "there"),
    [("set", "writev", None), ("set", "link", None), ("set-then-stop", "link", b"new")],
)
def test_a_set_killed_at_any_step_made_all_of_its_object_or_nothing(
    tmp_path: Path, change: str, step: str, there: bytes | None
) -> None:
    with stopped(CHANGER, str(tmp_path / "objects"), change, step):
        pass
    connector = FileConnector.from_config({"store_dir": str(tmp_path / "objects")})
    assert connector.get(FileKey("new")) == there
    for path in (tmp_path / "objects").glob(".tmp-*"):
        os.utime(path, (1, 1))
    assert connector.gc().orphans == 1
    assert connector.get(FileKey("new")) == there
    assert connector.get(FileKey("kept")) == b"older"


@pytest.mark.slow
@pytest.mark.parametrize("step", ["writev", "rename"])
def test_ctrl_c_in_the_middle_of_a_put_leaves_nothing_of_it(tmp_path: Path, step: str) -> None:
    objects = tmp_path / "objects"
    with stopped(WRITER, str(objects), step, "process") as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGINT, errors
    assert "KeyboardInterrupt" in errors
    assert not list(objects.glob(".tmp-*"))
    (entry,) = FileConnector.from_config({"store_dir": str(objects)}).entries()
    assert entry.nbytes == len(b"first")


@pytest.mark.slow
def test_the_temporary_of_a_living_writer_is_not_collected(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "objects"), "rename", "process"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert list(iter(lambda: process.stdout.readline().strip(), "stopped"))
        (temporary,) = (tmp_path / "objects").glob(".tmp-*")
        os.utime(temporary, (1, 1))
        connector = FileConnector.from_config({"store_dir": str(tmp_path / "objects")})
        assert connector.gc() == Collected(0, 0, 0)
        assert stat.S_ISREG(temporary.stat().st_mode)
        process.kill()
        process.wait(30)
    assert connector.gc().orphans == 1


def test_no_error_is_its_own_cause(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ProxyStoreError) as caught:
        FileConnector(tmp_path / "file" / "below")
    seen: list[BaseException | None] = []
    error: BaseException | None = caught.value
    while error is not None:
        assert error not in seen
        seen.append(error)
        error = error.__cause__
    with pytest.raises(ProxyStoreError) as caught:
        FileConnector("/proc/no/such")
    assert caught.value.__cause__ is not caught.value
