"""What goes wrong under a store: its users are told what, where, and what to do."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from proxystore.connectors.file import FileConnector, FileKey
from proxystore.errors import (
    CorruptObjectError,
    MediumGoneError,
    ObjectOnOtherHostError,
    ProxyResolveError,
    SerializationError,
    UnsupportedVersionError,
)
from proxystore.store import Store

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store[FileConnector]]:
    with Store("demo", FileConnector(tmp_path / "objects")) as made:
        yield made


@pytest.mark.parametrize(
    ("damage", "error", "found"),
    [
        (lambda data: data[:-5], CorruptObjectError, "5 bytes are missing at its end"),
        (lambda data: b"", CorruptObjectError, "it is empty"),
        (lambda data: data[:-1] + b"\xff", CorruptObjectError, "its content was changed"),
        (lambda data: b"GIF89a" * 20, CorruptObjectError, "not an object of this format"),
        (lambda data: data[:4] + b"\x02" + data[5:], UnsupportedVersionError, "version 2"),
    ],
    ids=["truncated", "empty", "corrupted", "foreign", "future"],
)
def test_a_damaged_object_is_named_and_others_stay(
    store: Store[FileConnector],
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
    error: type[SerializationError],
    found: str,
) -> None:
    key, other = store.put(list(range(1000))), store.put("other")
    path = tmp_path / "objects" / key.filename
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(error, match=found) as caught:
        store.get(key)
    for told in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        (note,) = told.__notes__
        assert (key.filename in note, str(tmp_path) in note) == (True, True)
    with pytest.raises(ProxyResolveError, match=found):
        len(store.proxy_from_key(key))
    assert store.get(other) == "other"


def test_a_directory_that_vanished_is_told_to_users_of_its_store_and_proxies(
    store: Store[FileConnector], tmp_path: Path
) -> None:
    proxy = store.proxy(["x"], populate_target=False)
    shutil.rmtree(tmp_path / "objects")
    with pytest.raises(MediumGoneError, match=rf"{tmp_path}.*does not exist"):
        store.put("y")
    with pytest.raises(ProxyResolveError, match=rf"{tmp_path}.*does not exist"):
        len(proxy)
    store.close()


def test_a_proxy_of_another_hosts_memory_says_where_its_object_is() -> None:
    with Store.from_url("file:///dev/shm/x?node=far/00000000") as store:
        proxy = store.proxy_from_key(FileKey("a"))
        with pytest.raises(ProxyResolveError, match=r"host 'far/00000000'.*Use a store") as caught:
            len(proxy)
    assert isinstance(caught.value.cause, ObjectOnOtherHostError)


RESOLVE = """
import pickle, sys
try:
    print(len(pickle.loads(bytes.fromhex(sys.argv[1]))))
except Exception as error:
    print(type(error.__cause__).__name__, error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="there is no shared memory directory")
def test_a_container_with_memory_of_its_own_says_what_it_cannot_see() -> None:
    within = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/shm && exec "$@"', "sh"]
    if os.geteuid() != 0 or subprocess.run([*within, "true"], check=False).returncode:
        pytest.skip("only root can give a process mounts of its own")
    with Store("demo") as store:
        data = pickle.dumps(store.proxy(["x"])).hex()
        command = [sys.executable, "-c", RESOLVE, data]
        done = subprocess.run(
            [*within, *command], capture_output=True, text=True, timeout=60, check=True
        )
        assert "MediumGoneError" in done.stdout
        assert "another container, mount or host" in done.stdout


WAITER = """
import sys, threading
from proxystore.connectors.local import LocalConnector
from proxystore.store import Store

class Never(LocalConnector):
    def get_with_generation(self, key):
        asked.set()
        threading.Event().wait()

asked = threading.Event()
store = Store("demo", Never())
key = store.put("x")
if sys.argv[1] == "joins":
    threading.Thread(target=store.get, args=(key,), daemon=True).start()
    asked.wait()
print("waiting", flush=True)
str(store.proxy_from_key(key))
"""


@pytest.mark.slow
@pytest.mark.parametrize("role", ["asks", "joins"])
def test_ctrl_c_ends_whoever_waits_for_a_medium_that_never_answers(role: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITER, role],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        errors = ""
        for _ in range(4):
            # Again: Python drops an interrupt that comes while it lets go of an import's lock.
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                _, errors = process.communicate(timeout=5)
                break
        process.kill()
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors
