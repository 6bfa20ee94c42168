"""Store processes: started on demand and once, owned by one process, ended with their owner."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from proxystore.errors import ConfigError, ConnectorUnavailableError, UnsafeDirectoryError
from proxystore.serving import (
    SOCKET_NBYTES,
    Announcement,
    Owner,
    Place,
    collect_places,
    ensure_running,
    let_go,
    runtime_directory,
)
from proxystore.testing._forked import in_forked_child

SERVER = """
import sys, time
from proxystore.serving import Life
life = Life.begin("test", sys.argv[1], int(sys.argv[2]))
life.announce("nowhere", 1)
while life.goes_on(has_objects=True) or not life.end():
    time.sleep(0.005)
"""
COMMAND = ("-c", SERVER)

OWNER = """
import sys
from proxystore.serving import Place
place = Place("test", "shared")
print(place.own(), flush=True)
sys.stdin.read()
"""


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it holds within 10 s."""
    deadline = time.monotonic() + 10
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="serving-") as folder:
        monkeypatch.setenv("PROXYSTORE_RUNTIME_DIR", folder)
        yield Path(folder)


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place("test", "shared")
    yield place
    found = place.announced()
    place.disown()
    if found is not None:
        assert eventually(lambda: not is_alive(found.pid)), "a store process outlived its owner"


@pytest.fixture
def other_owner() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def start(place: Place) -> Announcement:
    return ensure_running(place, COMMAND, protocol=1)


@pytest.mark.slow
def test_the_process_is_started_once_and_found_after_that(place: Place) -> None:
    assert place.own()
    assert place.announced() is None
    first = start(place)
    assert first == start(place) == place.announced()
    assert is_alive(first.pid)


@pytest.mark.slow
def test_of_processes_that_race_to_start_one_exactly_one_is_started(place: Place) -> None:
    place.own()
    code = (
        "import sys\n"
        "from proxystore.serving import Place, ensure_running\n"
        "sys.stdin.readline()\n"
        "print(ensure_running(Place('test', 'shared'), ('-c', sys.argv[1]), protocol=1).pid)\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    pids = {racer.communicate(timeout=60)[0] for racer in racers}
    assert len(pids) == 1
    with ThreadPoolExecutor(8) as pool:
        assert {int(*pids)} == {found.pid for found in pool.map(lambda _: start(place), range(8))}


@pytest.mark.slow
def test_the_process_is_detached_and_has_no_descriptor_but_its_lock(place: Place) -> None:
    place.own()
    kept = os.open("/", os.O_RDONLY)
    os.set_inheritable(kept, True)
    try:
        pid = start(place).pid
    finally:
        os.close(kept)
    assert os.getsid(pid) != os.getsid(0)
    opened = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    assert opened == {"/dev/null", place.file("log"), place.file("lock")}


@pytest.mark.slow
def test_the_process_ends_with_its_owner_and_removes_its_files(
    place: Place, runtime: Path
) -> None:
    place.own()
    pid = start(place).pid
    place.disown()
    assert eventually(lambda: not is_alive(pid))
    assert list(runtime.iterdir()) == []


@pytest.mark.slow
def test_who_lets_go_tells_the_process_and_sees_it_end(place: Place, runtime: Path) -> None:
    place.own()
    found = start(place)
    told: list[Announcement] = []
    let_go(place, told.append)
    assert [found] == told
    assert not place.is_served()
    assert [] == list(runtime.iterdir())


@pytest.mark.slow
def test_who_lets_go_does_not_wait_for_a_process_that_is_stopped(place: Place) -> None:
    place.own()
    pid = start(place).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        let_go(place, lambda _: None, timeout=0.05)
        assert place.is_served()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert eventually(lambda: not is_alive(pid))


def test_who_lets_go_before_a_process_was_started_leaves_nothing(
    place: Place, runtime: Path
) -> None:
    place.own()
    let_go(place, lambda _: pytest.fail("there is nobody to tell"))
    assert [] == list(runtime.iterdir())


@pytest.mark.slow
def test_who_owns_nothing_or_keeps_it_ends_nothing(place: Place) -> None:
    place.own()
    found = start(place)
    let_go(Place("test", "shared"), lambda _: pytest.fail("it is not the owner's"))
    let_go(place, lambda _: pytest.fail("it is kept"), keep=True)
    assert Owner.LEFT is place.owner()
    assert found == place.announced()
    assert place.own(adopt=True)


@pytest.mark.slow
def test_the_process_ends_when_its_owner_is_killed(
    place: Place, other_owner: subprocess.Popen[str]
) -> None:
    assert not place.own()
    pid = start(place).pid
    other_owner.kill()
    assert eventually(lambda: not is_alive(pid))
    assert place.own()


@pytest.mark.slow
def test_what_is_kept_goes_on_without_an_owner_until_it_is_adopted(place: Place) -> None:
    place.own()
    found = start(place)
    place.disown(keep=True)
    assert Owner.LEFT is place.owner()
    assert not place.own()
    assert found == place.announced()
    assert place.own(adopt=True)
    assert Owner.LIVES is place.owner()


@pytest.mark.slow
def test_a_process_that_was_killed_is_noticed_and_replaced(place: Place) -> None:
    place.own()
    first = start(place)
    Path(place.file("left.sock")).touch()
    os.kill(first.pid, signal.SIGKILL)
    assert eventually(lambda: place.announced() is None)
    second = start(place)
    assert first.instance != second.instance
    assert not Path(place.file("left.sock")).exists()


@pytest.mark.slow
def test_a_fork_while_a_process_starts_does_not_keep_its_lock(place: Place) -> None:
    place.own()
    forked = threading.Event()
    starting = threading.Thread(target=lambda: (start(place), forked.set()))
    starting.start()
    children = []
    while not forked.is_set() and len(children) < 40:
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
        time.sleep(0.005)
    starting.join()
    found = place.announced()
    assert found is not None
    os.kill(found.pid, signal.SIGKILL)
    try:
        assert eventually(lambda: not place.is_served())
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


@pytest.mark.slow
def test_a_process_that_fails_to_start_is_reported_with_the_last_that_it_said(
    place: Place, runtime: Path
) -> None:
    code = "print('x' * 1000, 'before'); raise SystemExit('the reason for it')"
    with pytest.raises(ConnectorUnavailableError, match="said last: the reason for it") as caught:
        ensure_running(place, ("-c", code), protocol=1)
    assert len(str(caught.value)) < 300
    assert "before\nthe reason for it" in caught.value.__notes__[0]
    assert [] == list(runtime.iterdir())


@pytest.mark.slow
def test_a_process_that_says_why_it_cannot_serve_is_quoted_and_leaves_nothing(
    place: Place, runtime: Path
) -> None:
    code = SERVER.replace(
        'life.announce("nowhere", 1)', "life.fail('its port is in use', 'Give another port.')"
    )
    with pytest.raises(ConnectorUnavailableError) as caught:
        ensure_running(place, ("-c", code), protocol=1)
    assert "Cannot use store process test/shared: its port is in use. Give another port." == str(
        caught.value
    )
    assert [] == list(runtime.iterdir())


@pytest.mark.slow
def test_a_process_that_fails_leaves_its_owner_what_is_the_owners(place: Place) -> None:
    assert place.own()
    with pytest.raises(ConnectorUnavailableError):
        ensure_running(place, ("-c", "raise SystemExit(1)"), protocol=1)
    assert Owner.LIVES is place.owner()
    assert not Place("test", "shared").own()


@pytest.mark.slow
def test_a_process_that_ends_after_it_detached_is_reported_with_its_log(place: Place) -> None:
    code = SERVER.replace('life.announce("nowhere", 1)', "raise OSError('no such port')")
    with pytest.raises(ConnectorUnavailableError, match="no such port"):
        ensure_running(place, ("-c", code), protocol=1)


@pytest.mark.slow
def test_a_process_that_never_gets_ready_is_reported(place: Place) -> None:
    place.own()
    code = SERVER.replace('life.announce("nowhere", 1)', "pass")
    with pytest.raises(ConnectorUnavailableError, match=r"not ready within 0\.3 s"):
        ensure_running(place, ("-c", code), protocol=1, timeout=0.3)


@pytest.mark.slow
def test_a_process_that_hangs_before_it_detaches_is_ended_and_reported(place: Place) -> None:
    with pytest.raises(ConnectorUnavailableError, match=r"not begun after 0\.3 s"):
        ensure_running(place, ("-c", "import time; time.sleep(60)"), protocol=1, timeout=0.3)
    assert not place.is_served()


@pytest.mark.slow
def test_another_version_of_the_protocol_is_refused(place: Place) -> None:
    place.own()
    start(place)
    with pytest.raises(ConnectorUnavailableError, match=r"version 1 of its protocol.* 2"):
        ensure_running(place, COMMAND, protocol=2)


def test_one_of_several_owns(place: Place) -> None:
    others = [Place("test", "shared") for _ in range(3)]
    assert [True, False, False, False] == [each.own() for each in (place, *others)]
    place.disown()
    assert others[0].own()
    others[0].disown()


def test_a_forked_child_does_not_own(place: Place) -> None:
    place.own()
    assert in_forked_child(lambda: (place.is_owner, place.own())) == (False, False)
    assert place.is_owner


def test_an_owner_that_is_dead_leaves_nothing_owned(
    place: Place, other_owner: subprocess.Popen[str]
) -> None:
    assert not place.own()
    assert Owner.LIVES is place.owner()
    other_owner.kill()
    other_owner.wait(30)
    assert Owner.GONE is place.owner()
    assert place.own()


@pytest.mark.parametrize("namespace", ["", "../x", "a/b", "a" * 41, "a b", "é", "a\n", ".", 5])
def test_a_namespace_that_would_leave_the_directory_is_refused(namespace: Any) -> None:
    with pytest.raises(ConfigError, match="1 to 40 characters"):
        Place("test", namespace)


def test_a_directory_that_is_a_link_is_refused(runtime: Path, tmp_path: Path) -> None:
    (runtime / "test-linked").symlink_to(tmp_path)
    with pytest.raises(UnsafeDirectoryError, match="symbolic link"):
        Place("test", "linked").own()
    with pytest.raises(UnsafeDirectoryError, match="symbolic link"):
        Place("test", "linked").announced()


def test_a_directory_that_others_can_write_to_is_refused(runtime: Path) -> None:
    runtime.chmod(0o777)
    with pytest.raises(UnsafeDirectoryError, match="others can write"):
        Place("test", "open").own()


def test_a_directory_that_cannot_be_made_is_reported(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (runtime / "file").touch()
    monkeypatch.setenv("PROXYSTORE_RUNTIME_DIR", str(runtime / "file"))
    with pytest.raises(ConnectorUnavailableError, match="PROXYSTORE_RUNTIME_DIR"):
        Place("test", "nowhere").own()


def test_a_root_that_cannot_be_made_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXYSTORE_RUNTIME_DIR", "/proc/nosuch/directory")
    begun = time.monotonic()
    with pytest.raises(ConnectorUnavailableError, match="PROXYSTORE_RUNTIME_DIR"):
        Place("test", "nowhere").own()
    assert time.monotonic() - begun < 5


def test_the_longest_directory_that_is_taken_has_room_for_a_socket_and_the_next_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def place(nbytes: int) -> Place:
        monkeypatch.setenv("PROXYSTORE_RUNTIME_DIR", "/" + "d" * (nbytes - 1))
        return Place("test", "n" * 40)

    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(FileNotFoundError):
        sock.bind(place(48).file("s" * SOCKET_NBYTES))
    with pytest.raises(ConfigError, match=r"1 bytes too long.* PROXYSTORE_RUNTIME_DIR"):
        place(49)


def test_an_owner_that_does_not_end_is_named_by_its_process(place: Place) -> None:
    place.own()
    pid = start(place).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        place.disown()
        with pytest.raises(ConnectorUnavailableError, match=f"process {pid}"):
            Place("test", "shared").own(timeout=0.05)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert eventually(lambda: not is_alive(pid))


def test_each_user_has_a_directory_of_their_own_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROXYSTORE_RUNTIME_DIR")
    assert runtime_directory().endswith(f"proxystore-serving-{os.geteuid()}")


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"[]", b"{}", b'{"instance": 1}'])
def test_a_damaged_announcement_is_none(place: Place, content: bytes) -> None:
    place.own()
    Path(place.file("address")).write_bytes(content)
    with open(place.file("lock"), "wb") as lock:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        assert place.announced() is None
    with suppress(FileNotFoundError):
        Path(place.file("address")).unlink()


def test_what_is_left_of_killed_processes_is_collected_and_nothing_else(
    place: Place, runtime: Path
) -> None:
    assert place.own()
    killed = Place("test", "killed")
    killed.make()
    for name in ("owner", "lock", "log", "address", "socket"):
        Path(killed.file(name)).touch()
    (runtime / "not ours").mkdir()
    assert collect_places() == [killed.path]
    assert os.path.exists(place.path)
    assert (runtime / "not ours").exists()


def test_where_no_store_process_ever_ran_there_is_nothing_to_collect(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROXYSTORE_RUNTIME_DIR", str(tmp_path / "never"))
    assert collect_places() == []
