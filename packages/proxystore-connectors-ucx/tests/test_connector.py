"""What this connector promises beyond the contract, on one node."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxystore.errors import (
    ClosedError,
    ConfigError,
    InvalidKeyError,
    MediumFullError,
    MediumGoneError,
    ObjectOnOtherHostError,
)
from proxystore.payload import Buffers
from proxystore.serving import Place
from proxystore.serving.objects import OVERHEAD_NBYTES
from proxystore.store import Store
from proxystore_connectors_ucx import UCXConnector, UCXKey

LARGE = 3 << 20
ODD_SECONDS = ("1", None, math.nan, math.inf, 1e10, True)


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-Ic", script], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_store_opens_by_url_once_the_package_is_installed(connector: UCXConnector) -> None:
    key = connector.put(b"bytes")
    with Store.from_url(connector.url) as store:
        assert bytes(store.connector.get(key)) == b"bytes"


def test_a_proxy_resolves_after_it_was_pickled(connector: UCXConnector) -> None:
    with Store("results", connector) as store:
        wire = pickle.dumps(store.proxy([1, 2, 3], populate_target=False))
        assert pickle.loads(wire) == [1, 2, 3]
        assert len(wire) <= 210


def test_arguments_of_older_programs_are_taken(opened: Callable[..., UCXConnector]) -> None:
    made = opened(UCXConnector(0, "127.0.0.1", timeout=1))
    assert made.config()["timeout"] == 1
    assert made.config()["address"].startswith("127.0.0.1:")


@pytest.mark.parametrize("sizes", [(LARGE,), (10, LARGE, 10), (LARGE, 0, LARGE), (2000,) * 1600])
def test_objects_in_pieces_come_back_whole(connector: UCXConnector, sizes: tuple[int, ...]) -> None:
    pieces = [os.urandom(size) for size in sizes]
    assert bytes(connector.get(connector.put(Buffers(pieces))) or b"") == b"".join(pieces)


def test_what_get_gives_can_be_written_to(connector: UCXConnector) -> None:
    for payload in (b"small", bytes(LARGE)):
        view = memoryview(connector.get(connector.put(payload)) or b"")
        assert not view.readonly


def test_a_full_store_says_so_and_goes_on(opened: Callable[..., UCXConnector]) -> None:
    made = opened(UCXConnector(max_nbytes=LARGE + OVERHEAD_NBYTES))
    first = made.put(bytes(LARGE))
    for payload in (b"x", bytes(LARGE)):
        with pytest.raises(MediumFullError, match="max_nbytes"):
            made.put(payload)
    made.evict(first)
    assert made.exists(made.put(bytes(LARGE)))


def test_a_batch_that_fails_stores_nothing(opened: Callable[..., UCXConnector]) -> None:
    made = opened(UCXConnector(max_nbytes=1000 + 2 * OVERHEAD_NBYTES))
    with pytest.raises(MediumFullError):
        made.put_batch([bytes(400), bytes(400), bytes(400)])
    assert made.exists(made.put(bytes(1000)))


def test_closing_ends_a_wait(connector: UCXConnector) -> None:
    key, raised = connector.new_key(), []
    connector.put(b"so that a process runs")

    def wait() -> None:
        try:
            connector.wait(key)
        except ClosedError as exc:
            raised.append(exc)

    waiting = threading.Thread(target=wait)
    waiting.start()
    connector.close()
    waiting.join(10)
    assert len(raised) == 1


def test_an_owner_that_leaves_can_be_followed(opened: Callable[..., UCXConnector]) -> None:
    first = opened(UCXConnector(namespace="left"))
    key = first.put(b"kept")
    first.close(clear=False)
    second = opened(UCXConnector(namespace="left", adopt=True))
    assert bytes(second.get(key) or b"") == b"kept"
    second.close()
    assert not Place("ucx", "left").is_served()


def test_after_its_owner_closed_a_namespace_is_gone(connector: UCXConnector) -> None:
    other = UCXConnector.from_config(connector.config())
    key = connector.put(b"x")
    connector.close()
    uses = (lambda: other.get(key), lambda: other.put(b"x"), lambda: other.set(key, b"x"))
    for use in (*uses, other.new_key):
        with pytest.raises(MediumGoneError, match="owner") as caught:
            use()
        assert "a put starts" not in caught.value.advice


def test_an_owner_that_stored_nothing_leaves_no_files(connector: UCXConnector) -> None:
    path = Path(Place("ucx", connector.config()["namespace"]).path)
    connector.close()
    assert not path.exists()


def test_nothing_listens_on_a_network_unless_told(connector: UCXConnector) -> None:
    connector.put(bytes(LARGE))
    found = Place("ucx", connector.config()["namespace"]).announced()
    assert found is not None
    assert found.address == ""
    sockets = {
        os.readlink(f"/proc/{found.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{found.pid}/fd")
    }
    listening = {
        f"socket:[{line.split()[9]}]"
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    }
    assert not sockets & listening


def test_on_another_node_a_namespace_without_address_says_where_it_is(
    connector: UCXConnector,
    opened: Callable[..., UCXConnector],
    runtime: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, key = {**connector.config(), "node": "elsewhere/00000000"}, connector.put(b"x")
    monkeypatch.setenv("PROXYSTORE_RUNTIME_DIR", f"{runtime}/there")
    made = opened(UCXConnector.from_config(config))
    for use in (lambda: made.get(key), lambda: made.put(b"x"), made.new_key):
        with pytest.raises(ObjectOnOtherHostError, match="elsewhere"):
            use()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "namespace"),
        ({"namespace": "n", "adress": "h:1"}, "address"),
        ({"namespace": "../n"}, "characters"),
        ({"namespace": "n", "address": "host"}, "host:port"),
        ({"namespace": "n", "timeout": 0}, "timeout"),
        ({"namespace": "n", "max_nbytes": -1}, "max_nbytes"),
        ({"namespace": "n", "node": "x"}, "host/boot"),
        ({"namespace": "n", "node": 5}, "text"),
        ({"namespace": 5}, "text"),
        ({"namespace": "n", "address": 5}, "text"),
        ({"namespace": "n", "transports": 5}, "text"),
        ({"namespace": "n", "secret": 5}, "reference"),
        *(({"namespace": "n", "timeout": value}, "timeout") for value in ODD_SECONDS),
        *(({"namespace": "n", "max_nbytes": value}, "max_nbytes") for value in (1.5, "1", True)),
    ],
)
def test_a_configuration_with_wrong_options_is_refused(
    config: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        UCXConnector.from_config(config)


@pytest.mark.parametrize(
    "options",
    [
        {"namespace": 5},
        {"namespace": b"n"},
        {"port": "1"},
        {"port": 1 << 16},
        {"address": 5},
        {"address": "::1"},
        {"interface": 5},
        *({"max_nbytes": value} for value in (0.5, math.nan, math.inf)),
        *({"timeout": value} for value in ODD_SECONDS),
    ],
)
def test_an_option_of_an_odd_type_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="connector 'ucx'"):
        UCXConnector(**options)


def test_questions_of_odd_types_are_refused_with_a_sentence(connector: UCXConnector) -> None:
    key = connector.put(b"object")
    for offset, length in (("0", 1), (0, None), (0.5, 1)):
        with pytest.raises(TypeError, match="offset and length"):
            connector.get_range(key, offset, length)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="timeout is a number"):
        connector.wait(key, "1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout is a number"):
        connector.wait(key, math.nan)
    with pytest.raises(TypeError, match="bytes-like"):
        connector.put("text")  # type: ignore[arg-type]


def test_numbers_beyond_what_the_system_takes_are_as_good_as_the_largest(
    connector: UCXConnector,
) -> None:
    key = connector.put(b"object")
    assert connector.get_range(key, 2, 1 << 70) == b"ject"
    assert connector.get_range(key, 1 << 70, 1) == b""
    setting = threading.Timer(0.05, connector.set, (connector.new_key("later"), b"x"))
    setting.start()
    for timeout in (1e10, 1e300, math.inf):
        assert connector.wait(connector.new_key("later"), timeout)
    assert not connector.wait(connector.new_key(), -math.inf)
    setting.join()


@pytest.mark.parametrize(
    "url",
    [
        *("ucx:n", "ucx://h:1/n#x", "ucx://h/n", "ucx:///n?x=1", "ucx://u:hunter2@h:1/n"),
        *("ucx://[bad", "ucx://[bad/n", "ucx:///n?max_nbytes=1.5", "ucx:///n?timeout=soon"),
    ],
)
def test_a_url_of_another_form_is_refused_and_no_secret_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        UCXConnector.from_url(url)
    assert "hunter2" not in str(caught.value)


def test_a_clear_secret_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="reference") as caught:
        UCXConnector(secret="hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", ""])
def test_an_address_that_others_cannot_dial_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="other nodes"):
        UCXConnector(address=address)


def test_an_interface_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="lo"):
        UCXConnector(interface="nosuch0")


@pytest.mark.parametrize(
    "where", ["", "1234567", "../45678", *(f"12345678@{at}" for at in ("", "h:99999", "h:1/x"))]
)
def test_a_key_that_names_no_store_process_is_refused(connector: UCXConnector, where: str) -> None:
    with pytest.raises(InvalidKeyError, match="host:port"):
        connector.get(UCXKey("x", where))


def test_ucx_is_not_loaded_before_it_is_needed() -> None:
    done = run(
        "import sys; from proxystore_connectors_ucx import UCXConnector\n"
        "with UCXConnector() as c: assert bytes(c.get(c.put(b'small'))) == b'small'\n"
        "assert 'ucxx' not in sys.modules and 'numpy' not in sys.modules"
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("missing", ["find", "load"])
def test_where_ucx_is_missing_the_error_says_how_to_install_it(missing: str) -> None:
    hide = {
        "find": "importlib.util.find_spec = lambda name: None",
        "load": "sys.modules['ucxx'] = None",
    }
    done = run(
        f"import sys, importlib.util\n"
        f"from proxystore_connectors_ucx import UCXConnector\n{hide[missing]}\n"
        "with UCXConnector() as c: c.put(bytes(3 << 20))"
    )
    assert "pip install ucxx-cu12" in done.stderr.splitlines()[-1]
    assert "ConnectorUnavailableError" in done.stderr


def test_a_process_that_forgets_to_close_ends_quietly() -> None:
    done = run(
        "from proxystore_connectors_ucx import UCXConnector\n"
        "c = UCXConnector(); k = c.put(bytes(3 << 20)); assert len(c.get(k)) == 3 << 20"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_forked_child_that_used_shared_memory_before_does_so_again(
    connector: UCXConnector,
) -> None:
    key = connector.put(bytes(LARGE))
    assert connector.get(key) is not None
    child = os.fork()
    if child == 0:
        found = connector.get(key)
        os._exit(0 if found is not None and bytes(found) == bytes(LARGE) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert bytes(connector.get(key) or b"") == bytes(LARGE)


@pytest.mark.slow
def test_a_gigabyte_moves_in_little_more_memory_than_its_own() -> None:
    done = run(
        "from proxystore_connectors_ucx import UCXConnector\n"
        "def anonymous():\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return next(int(line.split()[1]) for line in lines if 'RssAnon' in line) << 10\n"
        "with UCXConnector() as c:\n"
        "    c.get(c.put(bytes(4 << 20)))\n"
        "    before = anonymous()\n"
        "    source = bytearray(1 << 30); source[::4096] = b'x' * (1 << 18)\n"
        "    key = c.put(source)\n"
        "    put = anonymous() - before; del source\n"
        "    view = c.get(key)\n"
        "    got = anonymous() - before\n"
        "    assert view[4096 * 5] == ord('x') and len(view) == 1 << 30\n"
        "assert put < 1.3 * 2**30 and got < 1.3 * 2**30, (put, got)\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
