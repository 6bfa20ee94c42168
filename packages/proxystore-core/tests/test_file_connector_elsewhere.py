"""Connectors of core where there is no shared memory, and waits for files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxystore.connectors.file import FileConnector

# --- Other systems --------------------------------------------------------------------------

_AS_MACOS = """
import os, sys, tempfile, time
sys.platform = "darwin"
for module, name in (
    (os, "posix_fallocate"), (os, "posix_fadvise"), (os, "sched_getaffinity"), (os, "O_TMPFILE"),
    (os, "memfd_create"), (os, "copy_file_range"), (os, "sendfile"), (os, "eventfd"),
    (time, "CLOCK_BOOTTIME"),
):
    vars(module).pop(name, None)
import mmap
vars(mmap).pop("MAP_POPULATE", None)
original = open
def opened(file, *args, **kwargs):
    if str(file).startswith(("/proc", "/sys")):
        raise FileNotFoundError(2, "No such file or directory", file)
    return original(file, *args, **kwargs)
import builtins
builtins.open = opened
listed = os.listdir
def listing(path="."):
    if str(path).startswith("/proc"):
        raise FileNotFoundError(2, "No such file or directory", path)
    return listed(path)
os.listdir = listing
tempfile.tempdir = given
from proxystore.connectors._file import media
media._SHARED_MEMORY = "/dev/absent"
import threading, warnings
from proxystore.cli import main
from proxystore.connectors.file import FileConnector
from proxystore.store import Store
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    result = []
    for name in ("one", "two"):
        with Store(name) as store:
            connector = store.connector
            keys = [store.put(bytes([7]) * size) for size in (0, 10, 70_000, 3_000_000)]
            result.append([len(store.get(key)) for key in keys])
            waited = connector.new_key()
            setting = threading.Timer(0.05, connector.set, (waited, b"came"))
            setting.start()
            result.append(connector.wait(waited, 30))
            leased = connector.put(b"x", ttl=600)
            connector.replace(leased, b"y" * 100_000)
            result.append(len(list(connector.entries())))
            connector.gc()
            sys.stdout, out = sys.stderr, sys.stdout
            result.append(main(["stat"]) or main(["ls"]) or main(["gc"]) or main(["doctor"]))
            sys.stdout = out
            setting.join()
result.append([str(each.message)[:24] for each in caught if each.category is RuntimeWarning])
"""


@pytest.mark.slow
def test_without_the_calls_that_macos_lacks_everything_works_in_files(
    tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    once = [[0, 10, 70_000, 3_000_000], True, 6, 0]
    assert run_python(_AS_MACOS, str(tmp_path)) == [*once, *once, ["There is no shared memor"]]


# --- Waiting for files ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("nbytes", [0, 100_000])
def test_who_waits_for_a_file_is_told_when_another_process_sets_it(
    tmp_path: Path, run_python: Callable[..., Any], nbytes: int
) -> None:
    with FileConnector(tmp_path / "objects") as connector:
        key = connector.new_key()
        code = """
from proxystore.connectors.file import FileConnector, FileKey
url, name, nbytes = given
connector = FileConnector.from_url(url)
connector.set(FileKey(name), bytes(nbytes))
result = connector.wait(FileKey(name), 0)
"""
        assert not connector.wait(key, 0)
        assert run_python(code, (connector.url, key.filename, nbytes))
        assert connector.wait(key)
        assert connector.get(key) == bytes(nbytes)
