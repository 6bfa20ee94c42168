"""What `FileConnector` does beyond the contract, in one process."""

from __future__ import annotations

import gc
import json
import os
import stat
import string
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxystore.abc import Acknowledgement, Medium
from proxystore.connectors.file import Collected, FileConnector, FileKey
from proxystore.errors import (
    ClosedError,
    ConfigError,
    InvalidKeyError,
    KeyAlreadySetError,
    KeyNotSetError,
    MediumGoneError,
    ObjectOnOtherHostError,
    UnsafeDirectoryError,
)
from proxystore.payload import Buffers

LARGE = bytes(range(256)) * 1024


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def connector(directory: Path) -> Iterator[FileConnector]:
    with FileConnector(directory) as connector:
        yield connector


def expire(connector: FileConnector, key: FileKey) -> None:
    os.utime(Path(connector.config()["store_dir"], key.filename), (1, 1))


class TestFiles:
    def test_an_object_is_one_private_file_in_a_private_directory(
        self, connector: FileConnector, directory: Path
    ) -> None:
        key = connector.put(b"abc")
        assert (directory / key.filename).read_bytes() == b"abc"
        assert stat.S_IMODE((directory / key.filename).stat().st_mode) == 0o600
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700

    def test_nothing_but_the_object_is_left_by_a_put(
        self, connector: FileConnector, directory: Path
    ) -> None:
        key = connector.put(b"abc")
        assert {entry.name for entry in directory.iterdir()} == {".owner", key.filename}

    def test_more_buffers_than_one_call_takes_are_all_written(
        self, connector: FileConnector
    ) -> None:
        parts = [bytes([n % 256]) * (n % 7) for n in range(5000)]
        assert connector.get(connector.put(Buffers(parts))) == b"".join(parts)

    def test_parent_directories_are_made(self, tmp_path: Path) -> None:
        with FileConnector(tmp_path / "a" / "b" / "c") as connector:
            assert connector.get(connector.put(b"x")) == b"x"

    @pytest.mark.parametrize("size", [0, 1, 65536, 65537, 1 << 20])
    def test_what_get_gives_is_writable_and_the_callers_own(
        self, connector: FileConnector, size: int
    ) -> None:
        key = connector.put(bytes(size))
        mine = connector.get(key)
        assert mine is not None
        view = memoryview(mine)
        assert not view.readonly
        if size:
            view[0] = 7
        assert connector.get(key) == bytes(size)

    @pytest.mark.parametrize(("offset", "length"), [(0, 10), (5000, 200_000), (262_000, 9999)])
    def test_a_range_is_that_part_of_the_object(
        self, connector: FileConnector, offset: int, length: int
    ) -> None:
        part = connector.get_range(connector.put(LARGE), offset, length)
        assert part == LARGE[offset : offset + length]

    def test_a_batch_that_fails_leaves_nothing(
        self, connector: FileConnector, directory: Path
    ) -> None:
        with pytest.raises(TypeError):
            connector.put_batch([b"a", b"b", "no bytes"])  # type: ignore[list-item]
        assert [entry.name for entry in directory.iterdir()] == [".owner"]

    def test_disk_acknowledgement_stores_the_same(self, directory: Path) -> None:
        with FileConnector(directory, acknowledge="disk") as connector:
            assert connector.acknowledges is Acknowledgement.DISK
            key = connector.put(b"x")
            connector.replace(key, b"y")
            assert connector.get(key) == b"y"

    def test_a_key_whose_set_failed_can_be_set(self, connector: FileConnector) -> None:
        key = connector.new_key("a")
        with pytest.raises(TypeError):
            connector.set(key, None)  # type: ignore[arg-type]
        connector.set(key, b"x")
        with pytest.raises(KeyAlreadySetError):
            connector.set(key, b"y")
        assert connector.get(key) == b"x"


class TestKeys:
    @given(name=st.text(max_size=80))
    @example(name="../x")
    @example(name="..")
    @example(name=".owner")
    @example(name="a/b")
    @example(name="x\n")
    @example(name="a\0")
    @example(name="x" * 65)
    def test_no_text_leaves_the_directory(self, name: str) -> None:
        valid = 1 <= len(name) <= 64 and set(name) <= set(
            string.ascii_letters + string.digits + "_-"
        )
        connector = FileConnector.from_config({"store_dir": "/nowhere/at/all"})
        if valid:
            assert connector.new_key(name) == FileKey(name)
        else:
            with pytest.raises(InvalidKeyError):
                connector.new_key(name)

    @pytest.mark.parametrize("key", [("a",), "a", None, FileKey("../x"), FileKey(1)])  # type: ignore[arg-type]
    @pytest.mark.parametrize("use", ["get", "exists", "evict", "generation"])
    def test_what_is_no_key_is_refused_by_every_use(
        self, connector: FileConnector, use: str, key: object
    ) -> None:
        with pytest.raises(InvalidKeyError):
            getattr(connector, use)(key)


class TestAddress:
    def test_a_disk_directory_needs_only_its_path(
        self, connector: FileConnector, directory: Path
    ) -> None:
        if connector.medium is not Medium.DISK:
            pytest.skip("temporary files are in memory here")
        assert connector.config() == {"store_dir": str(directory)}
        assert connector.url == f"file://{directory}"

    def test_what_is_rebuilt_has_the_same_address_and_objects(
        self, connector: FileConnector
    ) -> None:
        key = connector.put(b"x")
        config = json.loads(json.dumps(connector.config()))
        for rebuilt in (FileConnector.from_config(config), FileConnector.from_url(connector.url)):
            assert (rebuilt.url, rebuilt.config()) == (connector.url, connector.config())
            assert rebuilt.get(key) == b"x"
            assert not rebuilt.is_owner

    @given(
        path=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
        node=st.none() | st.just("host-1/0123abcd"),
        disk=st.booleans(),
    )
    def test_every_address_survives_its_url(self, path: str, node: str | None, disk: bool) -> None:
        config = {"store_dir": os.path.normpath(f"/no such/{path}")}
        config |= {"node": node} if node else {}
        config |= {"acknowledge": "disk"} if disk else {}
        connector = FileConnector.from_config(config)
        assert FileConnector.from_url(connector.url).config() == connector.config()

    def test_a_relative_directory_is_made_absolute(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with FileConnector("objects") as connector:
            assert connector.config()["store_dir"] == str(tmp_path / "objects")

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("file:relative", "absolute path"),
            ("file://host/dir", "file:///absolute"),
            ("redis://x", "file:///absolute"),
            ("file:///x?acknowlege=disk", "Did you mean 'acknowledge'"),
            ("file:///x?acknowledge=memory", "no such level"),
            ("file:///x?node=here", "host/boot"),
        ],
    )
    def test_a_wrong_url_says_what_is_wrong(self, url: str, said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            FileConnector.from_url(url)

    @pytest.mark.parametrize(
        ("config", "said"),
        [
            ({"stor_dir": "/x"}, "Did you mean 'store_dir'"),
            ({}, "needs the path 'store_dir'"),
            ({"store_dir": "x"}, "absolute path"),
            ({"store_dir": "/x", "acknowledge": "never"}, "no such level"),
        ],
    )
    def test_a_wrong_config_says_what_is_wrong(self, config: dict[str, str], said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            FileConnector.from_config(config)

    def test_rebuilding_makes_no_directory(self, directory: Path) -> None:
        connector = FileConnector.from_config({"store_dir": str(directory)})
        with pytest.raises(MediumGoneError, match=str(directory)):
            connector.put(b"x")
        assert not directory.exists()

    def test_memory_of_another_host_is_named(self) -> None:
        connector = FileConnector.from_url("file:///dev/shm/x?node=far/00000000")
        assert connector.medium is Medium.SHARED_MEMORY
        with pytest.raises(ObjectOnOtherHostError, match=r"shared memory .* 'far/00000000'"):
            connector.get(FileKey("a"))

    def test_its_repr_tells_where_it_is(self, connector: FileConnector) -> None:
        assert repr(connector) == f"<FileConnector {connector.url}>"


class TestLeases:
    def test_an_expired_object_is_absent_everywhere(self, connector: FileConnector) -> None:
        key = connector.put(b"x", ttl=60)
        assert connector.get(key) == b"x"
        expire(connector, key)
        assert connector.get(key) is None
        assert connector.get_range(key, 0, 1) is None
        assert not connector.exists(key)
        assert connector.generation(key) is None
        assert not connector.touch(key, 60)
        assert list(connector.entries()) == []
        with pytest.raises(KeyNotSetError):
            connector.replace(key, b"y")

    def test_an_old_object_without_a_lease_stays(self, connector: FileConnector) -> None:
        key = connector.put(b"x")
        expire(connector, key)
        assert connector.get(key) == b"x"

    def test_an_expired_key_can_be_set_anew(self, connector: FileConnector) -> None:
        key = connector.new_key()
        connector.set(key, b"x", ttl=60)
        expire(connector, key)
        connector.set(key, b"y")
        assert connector.get(key) == b"y"

    def test_touch_begins_prolongs_and_ends_a_lease(self, connector: FileConnector) -> None:
        key = connector.put(b"x")
        assert connector.touch(key, 60)
        (entry,) = connector.entries()
        assert entry.expires == pytest.approx(time.time() + 60, abs=30)
        assert connector.touch(key, None)
        expire(connector, key)
        assert connector.get(key) == b"x"

    def test_a_replaced_object_keeps_its_lease(self, connector: FileConnector) -> None:
        key = connector.put(b"x", ttl=60)
        connector.replace(key, b"y")
        (entry,) = connector.entries()
        assert entry.expires == pytest.approx(time.time() + 60, abs=30)

    def test_a_lease_without_an_end_is_possible(self, connector: FileConnector) -> None:
        assert connector.get(connector.put(b"x", ttl=float("inf"))) == b"x"

    @pytest.mark.parametrize("ttl", [0, -1, float("nan")])
    def test_a_time_to_live_is_greater_than_zero(
        self, connector: FileConnector, directory: Path, ttl: float
    ) -> None:
        with pytest.raises(ValueError, match="greater than 0"):
            connector.put(b"x", ttl=ttl)
        assert [entry.name for entry in directory.iterdir()] == [".owner"]

    def test_gc_removes_what_expired_and_counts_it(
        self, connector: FileConnector, directory: Path
    ) -> None:
        expired, kept = connector.put(bytes(5), ttl=60), connector.put(bytes(7), ttl=60)
        expire(connector, expired)
        assert connector.gc() == Collected(orphans=0, expired=1, nbytes=5)
        assert connector.gc() == Collected(0, 0, 0)
        assert not (directory / expired.filename).exists()
        assert connector.exists(kept)

    def test_putting_leased_objects_sweeps_from_time_to_time(
        self, connector: FileConnector, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("proxystore.connectors._file.objects._SWEEP_SECONDS", 0.0)
        key = connector.put(b"x", ttl=60)
        expire(connector, key)
        connector.put(b"y")
        assert not (directory / key.filename).exists()


class TestGenerations:
    @pytest.mark.parametrize("ttl", [None, 60.0])
    def test_no_two_generations_have_one_number(
        self, connector: FileConnector, ttl: float | None
    ) -> None:
        key = connector.put(b"", ttl=ttl)
        seen = {connector.generation(key)}
        for n in range(200):
            connector.replace(key, b"%d" % n)
            seen.add(connector.generation(key))
        assert len(seen) == 201

    def test_the_time_of_a_generation_is_finer_than_the_ticks_of_the_kernel(
        self, connector: FileConnector, directory: Path
    ) -> None:
        key = connector.put(b"x")
        for _ in range(20):
            before = time.time_ns()
            connector.replace(key, b"y")
            assert (directory / key.filename).stat().st_mtime_ns >= before

    def test_a_generation_stays_while_the_object_does(self, connector: FileConnector) -> None:
        key = connector.put(b"x")
        first = connector.generation(key)
        connector.get(key)
        assert connector.generation(key) == first


class TestOwnership:
    def test_the_owner_removes_objects_and_directory(self, directory: Path) -> None:
        connector = FileConnector(directory)
        connector.put(b"x", ttl=60)
        connector.touch(connector.put(b"y"), 60)
        connector.close()
        assert not directory.exists()

    def test_files_of_others_are_kept_and_with_them_the_directory(self, directory: Path) -> None:
        connector = FileConnector(directory)
        connector.put(b"x")
        (directory / "notes.txt").write_text("mine")
        (directory / "folder").mkdir()
        connector.close()
        assert {entry.name for entry in directory.iterdir()} == {"notes.txt", "folder"}

    def test_an_owner_can_leave_its_objects(self, directory: Path) -> None:
        connector = FileConnector(directory, clear=False)
        key = connector.put(b"x")
        connector.close()
        with FileConnector(directory) as later:
            assert not later.is_owner
            assert later.get(key) == b"x"
        assert directory.exists()

    def test_an_owner_made_to_keep_clears_when_told(self, directory: Path) -> None:
        FileConnector(directory, clear=False).close(clear=True)
        assert not directory.exists()

    def test_a_directory_without_owner_can_be_adopted(self, directory: Path) -> None:
        FileConnector(directory, clear=False).close()
        with FileConnector(directory, adopt=True) as adopted:
            assert adopted.is_owner
        assert not directory.exists()

    def test_an_empty_directory_can_be_adopted(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        with FileConnector(directory, adopt=True) as adopted:
            assert adopted.is_owner

    def test_a_directory_that_was_never_ours_cannot_be_adopted(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        (directory / "id_rsa").write_text("secret")
        with pytest.raises(UnsafeDirectoryError, match="not made by us"):
            FileConnector(directory, adopt=True)
        assert (directory / "id_rsa").exists()

    def test_a_dropped_connector_lets_go_of_its_directory(self, directory: Path) -> None:
        FileConnector(directory)
        with FileConnector(directory, adopt=True) as adopted:
            assert adopted.is_owner


class TestClosing:
    @pytest.mark.parametrize(
        "use",
        [
            lambda c: c.put(b""),
            lambda c: c.put_batch([b""]),
            lambda c: c.get(FileKey("a")),
            lambda c: c.get_range(FileKey("a"), 0, 1),
            lambda c: c.exists(FileKey("a")),
            lambda c: c.evict(FileKey("a")),
            lambda c: c.new_key(),
            lambda c: c.set(FileKey("a"), b""),
            lambda c: c.replace(FileKey("a"), b""),
            lambda c: c.generation(FileKey("a")),
            lambda c: c.touch(FileKey("a"), 1),
            lambda c: list(c.entries()),
            lambda c: c.gc(),
        ],
    )
    def test_nothing_works_after_close(self, connector: FileConnector, use: object) -> None:
        connector.close()
        with pytest.raises(ClosedError, match=r"file:///.* is closed"):
            use(connector)  # type: ignore[operator]

    def test_closing_gives_back_every_descriptor(self, directory: Path) -> None:
        if not os.path.isdir("/proc/self/fd"):
            pytest.skip("descriptors cannot be counted here")
        gc.collect()  # What other tests left must not go in the middle of this one.
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            with FileConnector(directory) as connector:
                connector.touch(connector.put(LARGE), 60)
        assert len(os.listdir("/proc/self/fd")) == before


def test_entries_tell_key_size_and_times(connector: FileConnector) -> None:
    keys = {connector.put(bytes(3)), connector.put(bytes(3), ttl=60)}
    entries = list(connector.entries())
    assert {entry.key for entry in entries} == keys
    assert {entry.nbytes for entry in entries} == {3}
    assert all(abs(entry.created - time.time()) < 60 for entry in entries)
    assert sorted(entry.expires is None for entry in entries) == [False, True]
