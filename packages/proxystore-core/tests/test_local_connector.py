"""What `LocalConnector` does beyond the contract."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from proxystore.abc import Acknowledgement, Capability, Medium
from proxystore.connectors.local import LocalConnector, LocalKey
from proxystore.errors import (
    ClosedError,
    ConfigError,
    ConnectorUnavailableError,
    InvalidKeyError,
    KeyNotSetError,
    NotOwnerError,
)


@pytest.fixture
def connector() -> Iterator[LocalConnector]:
    with LocalConnector() as connector:
        yield connector


def test_its_bytes_live_and_die_with_the_process(connector: LocalConnector) -> None:
    assert connector.medium is Medium.PROCESS
    assert connector.acknowledges is Acknowledgement.MEMORY
    assert Capability.CROSS_PROCESS not in connector.capabilities


def test_it_has_every_other_synchronous_capability(connector: LocalConnector) -> None:
    assert connector.capabilities == set(Capability) - {Capability.CROSS_PROCESS, Capability.ASYNC}


def test_get_gives_a_read_only_view_of_the_one_copy(connector: LocalConnector) -> None:
    data = bytes(1000)
    view = connector.get(connector.put(data))
    assert view is not None
    assert view.readonly
    assert view.obj is data


def test_a_connector_rebuilt_in_the_same_process_reaches_the_same_objects(
    connector: LocalConnector,
) -> None:
    key = connector.put(b"x")
    rebuilt = LocalConnector.from_config(connector.config())
    assert rebuilt.get(key) == b"x"
    assert rebuilt.config() == connector.config()
    rebuilt.close()
    assert connector.get(key) == b"x"


def test_a_rebuilt_connector_may_not_clear(connector: LocalConnector) -> None:
    with pytest.raises(NotOwnerError):
        LocalConnector.from_config(connector.config()).close(clear=True)


def test_an_empty_config_makes_a_new_connector() -> None:
    with LocalConnector.from_config({}) as connector:
        assert connector.get(connector.put(b"x")) == b"x"


def test_another_process_is_told_where_the_objects_live(connector: LocalConnector) -> None:
    key = connector.put(b"x")
    code = (
        "import json, sys\n"
        "from proxystore.connectors.local import LocalConnector, LocalKey\n"
        "try:\n"
        "    LocalConnector.from_config(json.loads(sys.argv[1])).get(LocalKey(sys.argv[2]))\n"
        "except ConnectionError as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    command = [sys.executable, "-c", code, json.dumps(connector.config()), key.id]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert told.startswith(ConnectorUnavailableError.__name__)
    assert f"memory of process {connector.config()['process']}" in told
    assert "FileConnector" in told


def test_once_all_its_connectors_are_gone_a_config_says_so() -> None:
    config = LocalConnector().config()
    with pytest.raises(ConnectorUnavailableError, match="closed there"):
        LocalConnector.from_config(config).put(b"x")


def test_data_in_the_config_reaches_another_process() -> None:
    config = LocalConnector(include_data_in_config=True).config()
    assert json.loads(json.dumps(config)) == config
    with LocalConnector({LocalKey("a"): b"\xff\x00"}, include_data_in_config=True) as connector:
        config = json.loads(json.dumps(connector.config()))
    config["shelf"] = "made-elsewhere"
    rebuilt = LocalConnector.from_config(config)
    assert rebuilt.get(LocalKey("a")) == b"\xff\x00"


def test_a_dict_of_the_caller_is_used_and_never_cleared() -> None:
    objects: dict[LocalKey, bytes] = {LocalKey("a"): b"1"}
    connector = LocalConnector(objects)
    assert connector.get(LocalKey("a")) == b"1"
    key = connector.put(b"2")
    connector.close()
    assert objects == {LocalKey("a"): b"1", key: b"2"}


def test_the_owner_clears_on_close_unless_told_not_to() -> None:
    owner = LocalConnector()
    key = owner.put(b"x")
    other = LocalConnector.from_config(owner.config())
    owner.close(clear=False)
    assert other.get(key) == b"x"
    owner = LocalConnector()
    key = owner.put(b"x")
    other = LocalConnector.from_config(owner.config())
    owner.close()
    assert other.get(key) is None


def test_a_typo_in_a_config_names_the_nearest_option() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'store_dict'"):
        LocalConnector.from_config({"store_dic": {}})


def test_an_expired_object_is_absent_everywhere(connector: LocalConnector) -> None:
    key = connector.put(b"x", ttl=1e-9)
    assert connector.get(key) is None
    assert not connector.exists(key)
    assert connector.generation(key) is None
    assert not connector.touch(key, 60)
    with pytest.raises(KeyNotSetError):
        connector.replace(key, b"y")
    connector.set(key, b"z")
    assert connector.get(key) == b"z"


@pytest.mark.parametrize("ttl", [0, -1, float("nan")])
def test_a_time_to_live_is_greater_than_zero(connector: LocalConnector, ttl: float) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        connector.put(b"x", ttl=ttl)


@pytest.mark.parametrize("key", [LocalKey("../x"), LocalKey(""), ("a",), "a", None, LocalKey("é")])
def test_what_is_no_key_is_refused(connector: LocalConnector, key: object) -> None:
    with pytest.raises(InvalidKeyError):
        connector.get(key)  # type: ignore[arg-type]


def test_closing_ends_a_wait(connector: LocalConnector) -> None:
    ended: list[type[BaseException]] = []
    key = connector.new_key()

    def wait() -> None:
        try:
            connector.wait(key)
        except ClosedError as error:
            ended.append(type(error))

    thread = threading.Thread(target=wait)
    thread.start()
    connector.close()
    thread.join(30)
    assert ended == [ClosedError]


def test_its_keys_pickle() -> None:
    assert pickle.loads(pickle.dumps(LocalKey("a"))) == LocalKey("a")
