"""Between nodes: who is let in, what is told apart, what survives a cut."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxystore.errors import ConfigError, ConnectorUnavailableError, SecretNotFoundError
from proxystore.serving import Place
from proxystore_connectors_ucx import UCXConnector

LARGE = 3 << 20
Remote = Callable[..., UCXConnector]


def test_objects_go_both_ways_and_live_where_they_were_put(
    networked: UCXConnector, remote: Remote
) -> None:
    other = remote()
    here, there = networked.put(bytes(LARGE)), other.put(b"x" * LARGE)
    assert bytes(other.get(here) or b"") == bytes(LARGE)
    assert bytes(networked.get(there) or b"") == b"x" * LARGE
    assert "@" not in here.where
    assert "@127.0.0.1:" in there.where
    assert not there.where.endswith(networked.config()["address"])
    networked.evict(there)
    assert not other.exists(there)


def test_a_wait_is_told_of_an_object_on_another_node(
    networked: UCXConnector, remote: Remote
) -> None:
    other, key = remote(), networked.new_key()
    setting = threading.Timer(0.05, networked.set, (key, b"here"))
    setting.start()
    assert other.wait(key, timeout=10.0)
    setting.join()


@pytest.mark.parametrize("which", ["secret", "namespace"])
def test_who_holds_another_secret_is_refused(
    remote: Remote, runtime: str, networked: UCXConnector, which: str
) -> None:
    wrong = Path(runtime) / "wrong"
    wrong.write_text("another secret")
    wrong.chmod(0o600)
    options = {"secret": f"file:{wrong}"} if which == "secret" else {"namespace": "another"}
    with pytest.raises(ConnectorUnavailableError, match="secret") as caught:
        remote(**options).get(networked.put(b"x"))
    assert "another secret" not in str(caught.value)


def test_a_secret_that_is_not_on_this_node_is_named(
    remote: Remote, runtime: str, networked: UCXConnector
) -> None:
    with pytest.raises(SecretNotFoundError, match="missing"):
        remote(secret=f"file:{runtime}/missing").get(networked.put(b"x"))


def test_a_secret_that_is_not_there_is_named_before_anything_starts(runtime: str) -> None:
    with pytest.raises(SecretNotFoundError, match="missing"):
        UCXConnector(port=0, namespace="n", secret=f"file:{runtime}/missing")
    assert not os.path.exists(Place("ucx", "n").path)


def test_a_config_without_a_secret_says_where_to_get_one(
    remote: Remote, networked: UCXConnector
) -> None:
    other, key = remote(secret=None), networked.put(b"x")
    for use in (lambda: other.get(key), lambda: other.put(b"x"), other.new_key):
        with pytest.raises(ConnectorUnavailableError, match=r"no secret=.*URL"):
            use()


def test_a_port_that_somebody_has_is_named(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(ConnectorUnavailableError, match=rf"127\.0\.0\.1:{port}.*already in use"):
        UCXConnector(port=port)


def test_a_url_without_its_node_asks_the_host_that_it_names(
    networked: UCXConnector, remote: Remote
) -> None:
    key = networked.put(b"there")
    assert remote(node=None).get(key) == b"there"
    assert remote(node=None).new_key("x") == networked.new_key("x")


def test_on_the_owners_node_a_url_without_its_node_means_the_owner(
    networked: UCXConnector, opened: Callable[..., UCXConnector]
) -> None:
    config = networked.config()
    url = f"ucx://{config['address']}/{config['namespace']}?secret={config['secret']}"
    other = opened(UCXConnector.from_url(url))
    key = other.put(b"here")
    assert key.where == networked.put(b"x").where
    assert networked.get(key) == b"here"


NO_WAY = [
    {"transports": "nonsense"},
    {"devices": "mlx9_9:1"},
    {"transports": "tcp", "devices": "no0"},
]


@pytest.mark.parametrize("options", NO_WAY, ids=str)
def test_an_owner_is_told_of_ways_that_this_node_has_not(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=", ".join(f"{k}={v!r}" for k, v in options.items())):
        UCXConnector(port=0, namespace="n", **options)  # type: ignore[arg-type]
    assert not os.path.exists(Place("ucx", "n").path)


@pytest.mark.parametrize("options", [*NO_WAY, {"transports": "self"}], ids=str)
def test_another_node_is_told_at_once_of_ways_that_it_has_not(
    networked: UCXConnector, remote: Remote, options: dict[str, str]
) -> None:
    key = networked.put(bytes(LARGE))
    other = remote(**options, timeout=60.0)
    started = time.monotonic()
    with pytest.raises(ConnectorUnavailableError, match="|".join(options)):
        other.get(key)
    assert time.monotonic() - started < 30


def test_who_asks_is_told_at_once_of_ways_that_the_store_process_has_not(
    networked: UCXConnector, remote: Remote
) -> None:
    key = networked.put(bytes(LARGE))
    started = time.monotonic()
    with pytest.raises(ConnectorUnavailableError, match=r"the store process.*transports='tcp'"):
        remote(transports="sm", timeout=60.0).get(key)
    assert time.monotonic() - started < 30


NOISY = """
import sys
from proxystore.errors import ProxyStoreError
from proxystore_connectors_ucx import UCXConnector
try:
    UCXConnector(port=0, transports="nonsense")
except ProxyStoreError as exc:
    print(exc)
"""


@pytest.mark.slow
@pytest.mark.parametrize("level", [None, "warn"])
def test_ucx_itself_says_nothing_unless_told(runtime: str, level: str | None) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("UCX_")}
    if level is not None:
        environment["UCX_LOG_LEVEL"] = level
    done = subprocess.run(
        [sys.executable, "-c", NOISY],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "transports='nonsense'" in done.stdout
    assert (level is not None) == ("ucp_context" in done.stdout + done.stderr)


@pytest.fixture
def container(networked: UCXConnector, remote: Remote) -> UCXConnector:
    """As a container of the owner's node would have it, with a runtime directory of its own."""
    return remote(node=networked.config()["node"])


def test_on_the_owners_node_another_runtime_directory_uses_the_network(
    networked: UCXConnector, container: UCXConnector
) -> None:
    near = networked.put(bytes(LARGE))
    assert bytes(container.get(near) or b"") == bytes(LARGE)
    assert container.new_key("x") == networked.new_key("x")
    far = container.put(b"far")
    assert "@127.0.0.1:" in far.where
    assert networked.get(far) == b"far"


@pytest.mark.parametrize("has_used_it", [False, True])
def test_on_the_owners_node_nothing_is_put_once_the_owner_has_closed(
    networked: UCXConnector, opened: Callable[..., UCXConnector], has_used_it: bool
) -> None:
    other = opened(UCXConnector.from_url(networked.url))
    key = other.put(b"x") if has_used_it else networked.put(b"x")
    networked.close()
    with pytest.raises(ConnectorUnavailableError, match=r"owner|at 127\.0\.0\.1:") as caught:
        other.get(key)
    assert "Store them again" not in str(caught.value)
    for use in (lambda: other.put(b"lost"), other.new_key):
        with pytest.raises(ConnectorUnavailableError, match=r"at 127\.0\.0\.1:"):
            use()


def test_on_another_node_nothing_is_put_once_the_owner_has_closed(
    networked: UCXConnector, remote: Remote
) -> None:
    networked.put(b"x")
    other = remote()
    networked.close()
    with pytest.raises(ConnectorUnavailableError, match=r"at 127\.0\.0\.1:"):
        other.put(b"lost")


def test_where_nobody_listens_the_error_names_host_and_port(
    remote: Remote, networked: UCXConnector
) -> None:
    with pytest.raises(ConnectorUnavailableError, match=r"127\.0\.0\.1:1: .*refused.*firewall"):
        remote(address="127.0.0.1:1").get(networked.put(b"x"))


@pytest.mark.parametrize("cut_after", [0, 1, 38, 90, 150, 300])
@pytest.mark.parametrize("nbytes", [10_000, LARGE])
def test_a_get_that_is_cut_off_is_completed_or_an_error(
    remote: Remote, networked: UCXConnector, forwarder: Any, cut_after: int, nbytes: int
) -> None:
    payload = os.urandom(nbytes)
    key = networked.put(payload)
    other = remote(address=forwarder.address)
    forwarder.cut_after = cut_after
    try:
        found = other.get(key)
    except ConnectorUnavailableError:
        # A cut handshake looks like a refusal: nothing is asked again by itself.
        assert cut_after < 90
        found = other.get(key)
    assert bytes(found or b"") == payload


@pytest.mark.parametrize("cut_after", [1, 80, 107, 130, 200])
def test_a_set_that_is_cut_off_is_whole_or_absent(
    remote: Remote, networked: UCXConnector, forwarder: Any, cut_after: int
) -> None:
    payload, key = os.urandom(LARGE), networked.new_key()
    other = remote(address=forwarder.address)
    forwarder.cut_after = cut_after
    try:
        other.set(key, payload)
    except ConnectorUnavailableError:
        found = networked.get(key)
        assert found is None or bytes(found) == payload
    else:
        assert bytes(networked.get(key) or b"") == payload


def test_a_connection_that_was_cut_while_idle_is_made_anew(
    remote: Remote, networked: UCXConnector, forwarder: Any
) -> None:
    other = remote(address=forwarder.address)
    key = networked.put(bytes(LARGE))
    assert other.get(key) is not None
    forwarder.cut_after = 10
    assert len(other.get(key) or b"") == LARGE
    assert forwarder.connections == 2


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.mark.slow
def test_strangers_that_say_nothing_shut_nobody_out(
    remote: Remote, networked: UCXConnector
) -> None:
    key = networked.put(b"for nodes that hold the secret")
    host, _, port = networked.config()["address"].rpartition(":")
    with contextlib.ExitStack() as stack:
        first, *_, last = (
            stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
            for _ in range(400)
        )
        assert remote(timeout=5.0).exists(key)
        # A greeting, and no more: the one that has waited longest makes room.
        assert len(b"".join(iter(lambda: first.recv(100), b""))) == 46
        assert len(last.recv(46, socket.MSG_WAITALL)) == 46
        last.settimeout(0)
        with pytest.raises(BlockingIOError):
            last.recv(1)


def answering(listener: socket.socket, words: bytes) -> threading.Thread:
    """Somebody else's server, that says ``words`` to whoever connects."""

    def serve() -> None:
        client, _ = listener.accept()
        with client, contextlib.suppress(ConnectionError):
            client.sendall(words)
            while client.recv(1 << 16):
                pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (b"PXucx\x07" + bytes(32), "version 7"),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3 and more", "does not speak"),
        (b"PXucx\x01" + bytes(32) + b"instance" + bytes(32), "secret"),
        (b"", "1 s"),
    ],
)
def test_another_server_at_the_address_is_told_apart(
    remote: Remote, networked: UCXConnector, listener: socket.socket, words: bytes, said: str
) -> None:
    answering(listener, words)
    other = remote(address=f"127.0.0.1:{listener.getsockname()[1]}", timeout=1.0)
    with pytest.raises(ConnectorUnavailableError, match=said):
        other.get(networked.put(b"x"))


def test_a_store_process_of_another_version_is_an_error(connector: UCXConnector) -> None:
    connector.put(b"x")
    place = Place("ucx", connector.config()["namespace"])
    address = Path(place.file("address"))
    address.write_text(address.read_text().replace('"protocol": 1', '"protocol": 2'))
    other = UCXConnector.from_config(connector.config())
    with pytest.raises(ConnectorUnavailableError, match="version 2"):
        other.put(b"x")


@pytest.mark.slow
def test_the_processes_of_other_nodes_end_when_the_owner_closes(
    networked: UCXConnector, remote: Remote, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote().put(b"x")
    monkeypatch.setenv("PROXYSTORE_RUNTIME_DIR", f"{runtime}/there")
    place = Place("ucx", networked.config()["namespace"])
    found = place.announced()
    assert found is not None
    watched = os.pidfd_open(found.pid)
    networked.close()
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    assert poll.poll(20_000)
    os.close(watched)
    assert not Path(place.path).exists()
