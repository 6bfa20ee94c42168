"""What this connector promises beyond the contract."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxystore.abc import Medium
from proxystore.errors import (
    ClosedError,
    ConfigError,
    ConnectorUnavailableError,
    InvalidKeyError,
    KeyNotSetError,
    MediumFullError,
    MediumGoneError,
    NotOwnerError,
    ObjectOnOtherHostError,
)
from proxystore.payload import Buffers
from proxystore.serving import Place
from proxystore.serving.objects import OVERHEAD_NBYTES
from proxystore.store import Store
from proxystore_connectors_margo import MargoConnector, MargoKey, Protocol
from proxystore_connectors_margo._server import Home

Eventually = Callable[[Callable[[], bool]], bool]
Kill = Callable[[MargoConnector], None]
ELSEWHERE = "elsewhere/00000000"


def pattern(nbytes: int) -> bytes:
    return (bytes(range(251)) * (nbytes // 251 + 1))[:nbytes]


def read(connector: MargoConnector, key: MargoKey) -> bytes:
    found = connector.get(key)
    assert found is not None
    return bytes(found)


# --- Names and options ------------------------------------------------------------


def test_a_store_opens_by_url_once_the_package_is_installed(connector: MargoConnector) -> None:
    key = connector.put(b"bytes")
    with Store.from_url(connector.url) as store:
        assert b"bytes" == bytes(store.connector.get(key))


def test_a_pickled_proxy_is_small_and_resolves(connector: MargoConnector) -> None:
    with Store("results", connector) as store:
        wire = pickle.dumps(store.proxy([1, 2, 3]))
        assert len(wire) < 300
        assert pickle.loads(wire) == [1, 2, 3]


@pytest.mark.parametrize(
    ("given", "protocol"),
    [("na+sm", Protocol.SM_SHM), ("OFI_TCP", Protocol.OFI_TCP), (Protocol.TCP, Protocol.TCP)],
)
def test_a_protocol_is_given_by_its_name_or_value(
    given: Protocol | str, protocol: Protocol
) -> None:
    with MargoConnector(None, given) as connector:
        expected = {} if protocol is Protocol.SM_SHM else {"protocol": protocol.value}
        assert expected.items() <= connector.config().items()
        medium = Medium.NETWORK if protocol.crosses_nodes else Medium.SHARED_MEMORY
        assert medium is connector.medium


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"protocol": "ofi+tpc"}, "Did you mean 'ofi\\+tcp'"),
        ({"protocol": "ofi+verbs"}, "address="),
        ({"protocol": "tcp", "address": "a b"}, "address"),
        ({"protocol": "tcp", "interface": "a/b"}, "interface"),
        ({"protocol": "tcp", "port": 70000}, "port"),
        ({"address": "10.0.0.1", "interface": "ib0"}, "interface="),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"max_nbytes": 0}, "max_nbytes"),
        ({"namespace": "../x"}, "namespace"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        MargoConnector(**options)


@pytest.mark.parametrize(
    "wrong",
    [{"namespase": "x"}, {"namespace": 5}, {"node": "x"}, {"protocol": "x"}, {"home": "x y"}],
)
def test_a_configuration_with_wrong_options_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        MargoConnector.from_config({"namespace": "n", "node": ELSEWHERE} | wrong)


@pytest.mark.parametrize(
    "url",
    ["margo://", "margo:///n", "margo://n", "margo://n/x?node=a/b", "file://n?node=a/b",
     "margo://n?node=a/b&port=x", "margo://n?node=a/b&prot=1", "margo://n?node=a/b#x"],
)  # fmt: skip
def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        MargoConnector.from_url(url)


def test_every_option_survives_config_and_url(runtime: Path) -> None:
    config = {
        "namespace": "n", "node": ELSEWHERE, "protocol": "ofi+tcp", "interface": "ib0",
        "port": 5000, "home": "ofi+tcp;ofi_rxm://[::1]:5000", "timeout": 2.5, "max_nbytes": 1000,
    }  # fmt: skip
    connector = MargoConnector.from_config(config)
    assert config == connector.config()
    assert config == MargoConnector.from_url(connector.url).config()
    assert not (runtime / "run").exists()


@pytest.mark.parametrize("address", ["", "x", "na+sm://", "file:///etc", "na+sm://a/b", None, 7])
def test_a_key_with_another_address_is_refused(connector: MargoConnector, address: Any) -> None:
    with pytest.raises(InvalidKeyError):
        connector.get(MargoKey("x", address))


def test_a_host_without_margo_is_told_where_it_comes_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("mochi.margo.core", "pymargo.core"):
        monkeypatch.setitem(sys.modules, name, None)
    found = r"Python module mochi\.margo is not installed\. .*spack install py-mochi-margo"
    with pytest.raises(ConnectorUnavailableError, match=found) as caught:
        MargoConnector()
    assert "pymargo" not in str(caught.value)


@pytest.mark.parametrize("name", ["mochi", "pymargo"])
def test_a_margo_that_is_there_and_cannot_be_loaded_is_told_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    for known in ("mochi", "mochi.margo", "mochi.margo.core", "pymargo", "pymargo.core"):
        monkeypatch.delitem(sys.modules, known, raising=False)
    (tmp_path / f"{name}.py").write_text("raise ImportError('libmargo.so: cannot open')")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ConnectorUnavailableError, match=r"cannot be loaded \(libmargo\.so: cannot"):
        MargoConnector()


@pytest.mark.fake_only
def test_a_protocol_that_this_host_lacks_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with MargoConnector() as connector:
        key = connector.put(b"bytes")
        monkeypatch.setenv("MOCHI_FAKE_WITHOUT", "na+sm")
        with (
            MargoConnector.from_config(connector.config()) as other,
            pytest.raises(ConnectorUnavailableError, match="hg_info"),
        ):
            other.get(key)


# --- Objects -----------------------------------------------------------------------


def test_nothing_is_started_before_it_is_needed(connector: MargoConnector) -> None:
    assert Place("margo", connector.config()["namespace"]).announced() is None


@pytest.mark.parametrize("sizes", [(70_000,), (5, 70_000, 7, 0, 9, 100_000), (3, 4), (0, 0)])
def test_scattered_buffers_come_back_as_one(
    connector: MargoConnector, sizes: tuple[int, ...]
) -> None:
    parts = [pattern(nbytes) for nbytes in sizes]
    key = connector.put(Buffers(parts))
    assert sum(sizes) == key.nbytes
    assert b"".join(parts) == read(connector, key)


def test_an_object_that_was_replaced_by_one_of_another_size_is_read_whole(
    connector: MargoConnector,
) -> None:
    key = connector.put(pattern(100))
    connector.replace(key, pattern(100_000))
    assert pattern(100_000) == read(connector, key)
    connector.replace(key, b"")
    assert b"" == read(connector, key)
    assert b"" == bytes(connector.get_range(key, 5, 5) or b"")


def test_an_object_comes_with_its_generation(connector: MargoConnector) -> None:
    key = connector.put(b"old")
    first = connector.generation(key)
    connector.replace(key, b"newer")
    found, generation = connector.get_with_generation(key)
    assert b"newer" == bytes(found or b"")
    assert generation == connector.generation(key) != first
    connector.evict(key)
    assert (None, None) == connector.get_with_generation(key)


def test_a_wrong_size_in_a_key_costs_a_round_trip_and_no_more(connector: MargoConnector) -> None:
    key = connector.put(b"bytes")
    assert b"bytes" == read(connector, key._replace(nbytes=3))
    assert b"bytes" == read(connector, key._replace(nbytes=None))


@pytest.mark.slow
def test_a_wait_ends_when_its_connector_is_closed(connector: MargoConnector) -> None:
    key = connector.new_key()
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            connector.wait(key)
        except (ClosedError, ConnectorUnavailableError) as exc:
            ended.append(exc)

    waiting = threading.Thread(target=wait)
    waiting.start()
    connector.close()
    waiting.join(10)
    assert len(ended) == 1


@pytest.mark.slow
def test_many_threads_wait_at_once(connector: MargoConnector) -> None:
    keys = [connector.new_key() for _ in range(16)]
    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda key=key: found.append(connector.wait(key, 10)))
        for key in keys
    ]
    for thread in threads:
        thread.start()
    for key in keys:
        connector.set(key, b"here")
    for thread in threads:
        thread.join(10)
    assert [True] * 16 == found


@pytest.mark.slow
def test_reading_needs_little_more_memory_than_the_object(
    connector: MargoConnector,
) -> None:
    nbytes = 200_000_000
    key = connector.put(bytes(nbytes))
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    found = connector.get(key)
    assert found is not None
    assert _memory("VmHWM") - before < 1.3 * nbytes


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


# --- Owning ------------------------------------------------------------------------


def test_who_opens_an_existing_namespace_does_not_own_it() -> None:
    with MargoConnector(namespace="shared") as owner:
        key = owner.put(b"bytes")
        with MargoConnector(namespace="shared") as other:
            assert b"bytes" == read(other, key)
            with pytest.raises(NotOwnerError):
                other.close(clear=True)
        assert b"bytes" == read(owner, key)


@pytest.mark.slow
def test_the_store_process_ends_when_its_owner_closes(eventually: Eventually) -> None:
    place = Place("margo", "brief")
    with MargoConnector(namespace="brief") as owner:
        owner.put(b"bytes")
        assert place.is_served()
    assert eventually(lambda: not place.is_served())
    assert eventually(lambda: not Path(place.path).exists())


@pytest.mark.slow
def test_the_store_process_ends_when_its_owner_is_killed(eventually: Eventually) -> None:
    code = (
        f"import os, sys; sys.path[:] = {sys.path!r}\n"
        "from proxystore_connectors_margo import MargoConnector\n"
        "connector = MargoConnector(namespace='brief')\n"
        "connector.put(b'bytes')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert eventually(lambda: not Place("margo", "brief").is_served())


@pytest.mark.slow
def test_objects_that_the_owner_left_stay_until_they_are_evicted(eventually: Eventually) -> None:
    owner = MargoConnector(namespace="left")
    key = owner.put(b"bytes")
    config = owner.config()
    owner.close(clear=False)
    with MargoConnector.from_config(config) as other:
        assert b"bytes" == read(other, key)
        other.evict(key)
        assert eventually(lambda: not Place("margo", "left").is_served())


@pytest.mark.slow
def test_a_namespace_that_was_left_is_adopted(eventually: Eventually) -> None:
    owner = MargoConnector(namespace="left")
    key = owner.put(b"bytes")
    owner.close(clear=False)
    with MargoConnector(namespace="left", adopt=True) as adopting:
        assert b"bytes" == read(adopting, key)
    assert eventually(lambda: not Place("margo", "left").is_served())


def test_putting_where_the_owner_is_gone_is_reported() -> None:
    owner = MargoConnector()
    config = owner.config()
    owner.close()
    with (
        MargoConnector.from_config(config) as other,
        pytest.raises(MediumGoneError, match="owner"),
    ):
        other.put(b"bytes")


# --- Nodes -------------------------------------------------------------------------


def test_shared_memory_of_another_node_is_out_of_reach(connector: MargoConnector) -> None:
    key = connector.put(b"bytes")
    other = MargoConnector.from_config(connector.config() | {"node": ELSEWHERE})
    for call in (lambda: other.get(key), lambda: other.put(b"x"), other.new_key):
        with pytest.raises(ObjectOnOtherHostError, match="elsewhere"):
            call()


@pytest.fixture
def home() -> Iterator[MargoConnector]:
    with MargoConnector(protocol=Protocol.OFI_TCP, interface="lo") as connector:
        yield connector


@pytest.fixture
def away(
    home: MargoConnector, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MargoConnector]:
    """A connector as another node would have it: other files, and another node's name."""
    config = home.config() | {"node": ELSEWHERE}
    monkeypatch.setenv("PROXYSTORE_RUNTIME_DIR", str(runtime / "away"))
    with MargoConnector.from_config(config) as connector:
        yield connector
    found = Place("margo", config["namespace"]).announced()
    if found is not None:
        os.kill(found.pid, signal.SIGKILL)


@pytest.mark.slow
def test_each_node_keeps_what_was_put_there(home: MargoConnector, away: MargoConnector) -> None:
    here, there = home.put(b"from home"), away.put(b"from away")
    assert here.address != there.address
    assert b"from home" == read(away, here)
    assert b"from away" == read(home, there)


def test_a_key_that_came_first_is_one_key_on_all_nodes(
    home: MargoConnector, away: MargoConnector
) -> None:
    key = away.new_key("result")
    assert home.new_key("result") == key
    away.set(key, b"bytes")
    assert b"bytes" == read(home, key)


@pytest.mark.slow
def test_a_home_lives_until_its_owner_closes(home: MargoConnector, eventually: Eventually) -> None:
    address, namespace = home.config()["home"], home.config()["namespace"]
    seen = Home("ofi+tcp", address, namespace, patience=0.1)
    assert seen.lives()
    assert not Home("ofi+tcp", address, "another", patience=0.1).lives()
    home.close()
    assert eventually(lambda: not seen.lives())


@pytest.mark.slow
def test_a_store_process_away_ends_when_its_home_is_of_another_namespace(
    home: MargoConnector, away: MargoConnector, eventually: Eventually
) -> None:
    config = away.config() | {"namespace": "another"}
    MargoConnector.from_config(config).put(b"bytes")
    place = Place("margo", "another")
    assert eventually(lambda: not place.is_served())


@pytest.mark.parametrize("listening", [{"address": "127.0.0.1"}, {}])
def test_without_an_interface_of_all_nodes_only_the_owners_keeps_objects(
    listening: dict[str, str],
) -> None:
    with MargoConnector(protocol="ofi+tcp", **listening) as home:
        other = MargoConnector.from_config(home.config() | {"node": ELSEWHERE})
        if not listening:
            with pytest.raises(ObjectOnOtherHostError, match="interface="):
                other.put(b"bytes")
            return
        assert home.new_key("x").address == other.put(b"bytes").address


def test_a_node_that_does_not_know_the_home_says_so() -> None:
    config = {"namespace": "n", "node": ELSEWHERE, "protocol": "tcp", "interface": "lo"}
    with pytest.raises(MediumGoneError, match="does not say where"):
        MargoConnector.from_config(config).put(b"bytes")


# --- Faults ------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_store_process_is_started_again_and_its_objects_are_gone(
    connector: MargoConnector, kill: Kill
) -> None:
    lost = connector.put(b"lost")
    kill(connector)
    with pytest.raises(MediumGoneError, match="no store process"):
        connector.get(lost)
    connector.evict(lost)
    assert b"new" == read(connector, connector.put(b"new"))


@pytest.mark.slow
def test_a_put_after_a_kill_needs_no_second_try(connector: MargoConnector, kill: Kill) -> None:
    connector.put(b"lost")
    kill(connector)
    assert b"new" == read(connector, connector.put(b"new"))


@pytest.mark.slow
def test_a_wait_notices_that_the_store_process_was_killed(
    connector: MargoConnector, kill: Kill
) -> None:
    key = connector.new_key()
    failed: list[BaseException] = []

    def wait() -> None:
        try:
            connector.wait(key)
        except ConnectorUnavailableError as exc:
            failed.append(exc)

    waiting = threading.Thread(target=wait)
    waiting.start()
    kill(connector)
    waiting.join(10)
    assert len(failed) == 1


@pytest.mark.slow
def test_a_store_process_that_does_not_answer_is_reported_in_time(
    connector: MargoConnector,
) -> None:
    key = connector.put(b"bytes")
    found = Place("margo", connector.config()["namespace"]).announced()
    assert found is not None
    config = connector.config() | {"timeout": 0.3}
    with MargoConnector.from_config(config) as impatient:
        os.kill(found.pid, 19)
        try:
            start = time.monotonic()
            with pytest.raises(ConnectorUnavailableError, match=r"no answer after 0\.\d s"):
                impatient.get(key)
            assert time.monotonic() - start < 3
        finally:
            os.kill(found.pid, 18)
        assert b"bytes" == read(impatient, key)


def test_a_full_store_process_says_so_and_keeps_the_rest() -> None:
    with MargoConnector(max_nbytes=1000 + 2 * OVERHEAD_NBYTES) as connector:
        kept = connector.put(bytes(900))
        with pytest.raises(MediumFullError, match="max_nbytes"):
            connector.put(bytes(200))
        assert bytes(900) == read(connector, kept)
        connector.evict(kept)
        connector.put(bytes(1000))


def test_a_replacement_without_room_changes_nothing() -> None:
    with MargoConnector(max_nbytes=1000 + 2 * OVERHEAD_NBYTES) as connector:
        key = connector.put(b"old")
        with pytest.raises(MediumFullError):
            connector.replace(key, bytes(1001))
        assert b"old" == read(connector, key)
        connector.evict(key)
        with pytest.raises(KeyNotSetError):
            connector.replace(key, b"x")
        connector.put(bytes(1000))


@pytest.mark.fake_only
@pytest.mark.slow
def test_a_store_process_that_cannot_start_shows_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    with MargoConnector() as connector:
        monkeypatch.setenv("MOCHI_FAKE_WITHOUT", "na+sm")
        with pytest.raises(ConnectorUnavailableError, match="MARGO_INSTANCE_NULL"):
            connector.put(b"bytes")
