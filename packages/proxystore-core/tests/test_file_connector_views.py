"""What `FileConnector.get` returns: how long it stays, and what it costs."""

from __future__ import annotations

import gc
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxystore.connectors._file.reading import MAP_MORE_THAN
from proxystore.connectors.file import FileConnector

LARGE = bytes(range(256)) * 4096
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self")


@pytest.fixture
def connector(tmp_path: Path) -> Iterator[FileConnector]:
    with FileConnector(tmp_path / "objects") as connector:
        yield connector


@pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=["empty", "small", "large"])
def test_a_view_stays_as_it_is_across_replace_evict_and_close(tmp_path: Path, data: bytes) -> None:
    connector = FileConnector(tmp_path / "objects")
    key = connector.put(data)
    view = connector.get(key)
    connector.replace(key, b"z" * len(data))
    assert view == data
    connector.evict(key)
    assert view == data
    connector.close()
    gc.collect()
    assert view == data


def test_a_change_to_a_view_is_seen_by_nobody_else(connector: FileConnector) -> None:
    key = connector.put(LARGE)
    mine, other = memoryview(connector.get(key)), memoryview(connector.get(key))
    mine[:] = bytes(len(mine))
    assert other == LARGE
    assert connector.get(key) == LARGE


@linux
def test_a_mapping_ends_with_its_last_view(connector: FileConnector) -> None:
    key = connector.put(LARGE)

    def is_mapped() -> bool:
        return key.filename in Path("/proc/self/maps").read_text()

    view = memoryview(connector.get(key))
    part = view[100_000:100_010]
    del view
    assert is_mapped(), "a local file system is mapped"
    assert part == LARGE[100_000:100_010]
    del part
    assert not is_mapped()


def test_thousands_of_views_live_at_once_under_a_small_limit(connector: FileConnector) -> None:
    key = connector.put(bytes(MAP_MORE_THAN + 1))
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, usual[1]))
    try:
        views = [connector.get(key) for _ in range(1500)]
        assert all(view is not None and view[-1] == 0 for view in views)
        # Others still find descriptors.
        for fd in os.pipe():
            os.close(fd)
        del views
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)


READER = """
import re, sys
from pathlib import Path
from proxystore.connectors.file import FileConnector, FileKey

def private():
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

connector = FileConnector.from_url(sys.argv[1])
before = private()
view = connector.get(FileKey(sys.argv[2]))
total = sum(view[::4096])
print(private() - before)
"""


@linux
@pytest.mark.slow
def test_reading_a_large_object_takes_no_private_memory(connector: FileConnector) -> None:
    key = connector.put(bytes(64 << 20))
    command = [sys.executable, "-c", READER, connector.url, key.filename]
    grown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert int(grown) < 0.05 * (64 << 10), "KiB, of 64 MiB"


@linux
@pytest.mark.slow
def test_writing_a_large_object_takes_no_private_memory(connector: FileConnector) -> None:
    def private_kib() -> int:
        status = Path("/proc/self/status").read_text()
        return int(re.findall(r"RssAnon:\s+(\d+) kB", status)[0])

    data = bytearray(64 << 20)
    before = private_kib()
    connector.put(data)
    assert private_kib() - before < 0.05 * (64 << 10)
