"""What this connector promises beyond the contract."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxystore.errors import (
    ConfigError,
    ConnectorUnavailableError,
    CorruptObjectError,
    MediumFullError,
    MediumGoneError,
    NotOwnerError,
)
from proxystore.payload import Buffers
from proxystore.store import Store
from proxystore_connectors_daos import DAOSConnector, DAOSKey

CHUNK = 4 << 20
Names = Callable[[DAOSConnector], list[str]]


def pattern(nbytes: int) -> bytes:
    return (bytes(range(251)) * (nbytes // 251 + 1))[:nbytes]


def read(connector: DAOSConnector, key: DAOSKey) -> bytes:
    found = connector.get(key)
    assert found is not None
    return bytes(found)


# --- Names ---------------------------------------------------------------------


def test_a_store_opens_by_url_once_the_package_is_installed(connector: DAOSConnector) -> None:
    key = connector.put(b"bytes")
    with Store.from_url(connector.url) as store:
        assert b"bytes" == bytes(store.connector.get(key))


def test_a_proxy_resolves_after_it_was_pickled(connector: DAOSConnector) -> None:
    with Store("results", connector) as store:
        assert pickle.loads(pickle.dumps(store.proxy([1, 2, 3]))) == [1, 2, 3]


def test_a_pickled_proxy_is_small(connector: DAOSConnector) -> None:
    with Store("results", connector) as store:
        assert len(pickle.dumps(store.proxy([1, 2, 3]))) < 300


@pytest.mark.parametrize("name", ["Mixed.Case:1_2", "a b?#%&=+", "x/../y", "\u00e9\u4e16"])
def test_names_survive_the_url(container: Any, name: str) -> None:
    with container.connector(name) as owner:
        key = owner.put(b"bytes")
        other = DAOSConnector.from_url(owner.url)
        assert b"bytes" == read(other, key)
        assert owner.url == other.url
        assert owner.config() == other.config()


@pytest.mark.parametrize(
    "url",
    ["daos:///c/n", "daos://p/c", "daos://p/c/", "daos://p/c/n/m", "daos://p/c/n?clear=1",
     "daos://u@p/c/n", "file://p/c/n", "daos://p/c/n#x"],
)  # fmt: skip
def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        DAOSConnector.from_url(url)


@pytest.mark.parametrize(
    "wrong",
    [{"pol": "x"}, {"pool": ""}, {"pool": None}, {"container": 5}, {"namespace": "a\0b"}],
)
def test_a_configuration_with_wrong_options_is_refused(wrong: dict[str, object]) -> None:
    good = {"pool": "tank", "container": "neo", "namespace": "n"}
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DAOSConnector.from_config(good | wrong)


# --- Owning --------------------------------------------------------------------


def test_who_opens_an_existing_namespace_does_not_own_it(container: Any, entries: Names) -> None:
    with container.connector("shared") as owner:
        owner.put(b"bytes")
        container.connector("shared").close()
        assert len(entries(owner)) == 1
        with pytest.raises(NotOwnerError, match="shared"):
            container.connector("shared").close(clear=True)


def test_a_cleared_namespace_is_owned_again_by_adopting_it(container: Any, entries: Names) -> None:
    container.connector("again").close()
    adopting = container.connector("again", adopt=True)
    adopting.put(b"bytes")
    adopting.close()
    assert [] == entries(adopting)


def test_an_owner_told_not_to_clear_keeps_the_objects(container: Any, entries: Names) -> None:
    with container.connector(clear=False) as owner:
        owner.put(b"bytes")
    assert len(entries(owner)) == 1


def test_of_threads_that_make_one_namespace_exactly_one_owns_it(container: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: container.connector("race"), range(8)))
    refused = 0
    for connector in made:
        try:
            connector.close(clear=True)
        except NotOwnerError:
            refused += 1
    assert refused == 7


@pytest.mark.slow
def test_clearing_removes_all_of_many_objects(container: Any, entries: Names) -> None:
    with container.connector() as owner:
        owner.put_batch([b"x"] * 2500)
    assert [] == entries(owner)


# --- Large objects -------------------------------------------------------------


@pytest.mark.parametrize(
    "nbytes",
    [16 << 10, (16 << 10) + 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK,
     pytest.param(17 * CHUNK + 5, marks=pytest.mark.slow)],
)  # fmt: skip
def test_an_object_comes_back_across_its_chunks(connector: DAOSConnector, nbytes: int) -> None:
    data = pattern(nbytes)
    assert read(connector, connector.put(data)) == data


def test_scattered_buffers_come_back_across_chunks(connector: DAOSConnector) -> None:
    parts = [pattern(n) for n in (5, CHUNK - 10, 0, 11, 2 * CHUNK, 1)]
    assert read(connector, connector.put(Buffers(parts))) == b"".join(parts)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(offset=st.integers(0, 3 * CHUNK), length=st.integers(0, 3 * CHUNK))
def test_a_range_across_chunks_is_a_slice(
    chunked: tuple[DAOSConnector, DAOSKey], offset: int, length: int
) -> None:
    connector, key = chunked
    found = connector.get_range(key, offset, length)
    assert found is not None
    assert bytes(found) == pattern(2 * CHUNK + 100)[offset : offset + length]


@pytest.fixture
def chunked(connector: DAOSConnector) -> tuple[DAOSConnector, DAOSKey]:
    return connector, connector.put(pattern(2 * CHUNK + 100))


def test_evict_leaves_nothing_of_a_large_object(
    chunked: tuple[DAOSConnector, DAOSKey], entries: Names
) -> None:
    connector, key = chunked
    assert len(entries(connector)) == 4
    connector.evict(key)
    assert [] == entries(connector)


def test_an_object_whose_chunks_are_going_is_absent(
    chunked: tuple[DAOSConnector, DAOSKey], container: Any, pydaos: Any
) -> None:
    connector, key = chunked
    _dictionary(pydaos, container, connector).pop(f"{key.id}.1")
    assert connector.get(key) is None


@pytest.mark.parametrize("value", [b"\x07", b"\x01", b"\x02" + bytes(8), b"\x01" + bytes(9)])
def test_a_head_that_this_version_does_not_write_is_refused(
    connector: DAOSConnector, container: Any, pydaos: Any, value: bytes
) -> None:
    key = connector.put(b"bytes")
    _dictionary(pydaos, container, connector).put(key.id, value)
    with pytest.raises(CorruptObjectError, match=key.id):
        connector.get(key)


def test_a_chunk_of_another_size_is_refused(
    chunked: tuple[DAOSConnector, DAOSKey], container: Any, pydaos: Any
) -> None:
    connector, key = chunked
    _dictionary(pydaos, container, connector).put(f"{key.id}.1", b"short")
    with pytest.raises(CorruptObjectError, match="chunk 1"):
        connector.get(key)


@given(value=st.binary(max_size=40))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_value_of_others_is_taken_for_an_object(
    connector: DAOSConnector, container: Any, pydaos: Any, value: bytes
) -> None:
    dictionary = _dictionary(pydaos, container, connector)
    dictionary.put("foreign", value)
    try:
        found = connector.get(DAOSKey("foreign"))
    except CorruptObjectError:
        return
    assert found is None if not value else value.endswith(bytes(found or b""))


def _dictionary(pydaos: Any, container: Any, connector: DAOSConnector) -> Any:
    return pydaos.DCont(container.pool, container.name).get(connector.config()["namespace"])


@pytest.mark.slow
def test_reading_needs_little_more_memory_than_the_object(connector: DAOSConnector) -> None:
    nbytes = 64 * CHUNK
    key = connector.put(bytes(nbytes))
    before = _private_kib()
    found = connector.get(key)
    assert found is not None
    assert len(found) == nbytes
    assert (_private_kib(peak=True) - before) * 1024 < 1.6 * nbytes


def _private_kib(*, peak: bool = False) -> int:
    if not peak:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    field = "VmHWM" if peak else "VmRSS"
    return int(next(line for line in lines if line.startswith(field)).split()[1])


# --- Faults --------------------------------------------------------------------


def test_a_namespace_that_is_not_there_is_reported(container: Any) -> None:
    config = {"pool": container.pool, "container": container.name, "namespace": "nowhere"}
    with pytest.raises(MediumGoneError, match="nowhere"):
        DAOSConnector.from_config(config).get(DAOSKey("x"))


def test_a_container_that_is_not_there_is_reported(container: Any) -> None:
    with pytest.raises(ConnectorUnavailableError, match=r"nocontainer.*daos container query"):
        DAOSConnector(container.pool, "nocontainer", "n")


def test_a_host_without_pydaos_is_told_where_it_comes_from(
    container: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydaos", None)
    with pytest.raises(ConnectorUnavailableError, match="DAOS client packages"):
        container.connector()


@pytest.mark.fake_only
def test_a_system_that_stopped_answering_is_reported_and_used_again(
    container: Any, connector: DAOSConnector
) -> None:
    key = connector.put(b"bytes")
    (container.folder / "down").touch()
    for call in (lambda: connector.get(key), lambda: connector.put(b"x"), container.connector):
        with pytest.raises(ConnectorUnavailableError, match="DER_TIMEDOUT"):
            call()
    (container.folder / "down").unlink()
    assert b"bytes" == read(connector, key)


@pytest.mark.fake_only
def test_a_close_that_could_not_clear_can_be_repeated(container: Any, entries: Names) -> None:
    connector = container.connector()
    connector.put(b"bytes")
    (container.folder / "down").touch()
    for _ in range(2):
        with pytest.raises(ConnectorUnavailableError, match="DER_TIMEDOUT"):
            connector.close()
    (container.folder / "down").unlink()
    connector.close()
    assert [] == entries(connector)


@pytest.mark.fake_only
@pytest.mark.parametrize("nbytes", [100, 2 * CHUNK])
def test_a_full_pool_is_reported_and_keeps_nothing(
    container: Any, connector: DAOSConnector, entries: Names, nbytes: int
) -> None:
    kept = connector.put(b"kept")
    (container.folder / "quota").write_text("50" if nbytes < 1000 else str(CHUNK + 100))
    with pytest.raises(MediumFullError, match="No room"):
        connector.put(bytes(nbytes))
    assert [kept.id] == entries(connector)
    assert b"kept" == read(connector, kept)


@pytest.mark.fake_only
def test_a_batch_that_fails_stores_nothing(
    container: Any, connector: DAOSConnector, entries: Names
) -> None:
    (container.folder / "quota").write_text(str(CHUNK))
    with pytest.raises(MediumFullError):
        connector.put_batch([b"small", bytes(2 * CHUNK), b"small too"])
    assert [] == entries(connector)
