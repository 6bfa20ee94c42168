"""What happens when something goes wrong: a clear error or a completed retry, never a hang."""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from proxystore.errors import ConnectorUnavailableError, MediumGoneError
from proxystore.serving import Announcement, Place
from proxystore.testing import Peer
from proxystore_connectors_zmq import ZMQConnector

Find = Callable[[ZMQConnector], Announcement]
Eventually = Callable[[Callable[[], object]], bool]


# --- The store process ------------------------------------------------------------


@pytest.mark.slow
def test_objects_survive_kill_9_of_their_writer(connector: ZMQConnector) -> None:
    connector.put(b"so that the process is not that of the writer")
    with Peer(connector) as writer:
        key = connector.key_type(*writer.call("put", None, b"survives"))
        writer.kill()
    assert b"survives" == bytes(connector.get(key) or b"")


def test_objects_of_a_killed_process_are_gone_and_not_merely_absent(
    connector: ZMQConnector, process_of: Find
) -> None:
    put, made = connector.put(b"lost"), connector.new_key("lost")
    connector.set(made, b"lost")
    os.kill(process_of(connector).pid, signal.SIGKILL)
    for restarted in (False, True):
        for key in (put, made):
            for call in (connector.get, connector.exists, connector.wait, connector.generation):
                with pytest.raises(MediumGoneError, match=r"ended.* with it.*Store them again"):
                    call(key)
            connector.evict(key)
        with pytest.raises(MediumGoneError, match=r"ended.* with it"):
            connector.set(made, b"in vain")
        if not restarted:
            connector.put(b"so that another process is started")
    assert made != connector.new_key("lost")
    connector.set(connector.new_key("lost"), b"anew")


def test_objects_of_a_store_that_was_closed_are_gone_and_say_to_keep_it_open() -> None:
    with ZMQConnector() as owner:
        key = owner.put(b"x")
        used = ZMQConnector.from_config(owner.config())
        assert used.exists(key)
    with used, ZMQConnector.from_config(used.config()) as fresh:
        for each in (used, fresh):
            with pytest.raises(MediumGoneError, match=r"ended.* Keep the store"):
                each.get(key)


def test_keys_of_a_killed_process_say_on_other_nodes_to_store_them_again(
    networked: ZMQConnector, far: ZMQConnector, process_of: Find
) -> None:
    lost = networked.put(b"lost")
    os.kill(process_of(networked).pid, signal.SIGKILL)
    networked.put(b"so that another process is started")
    config = networked.config()
    there = lost._replace(where=f"{lost.where.partition('@')[0]}@{config['home']}")
    with pytest.raises(MediumGoneError, match=r"in its place.* Store them again"):
        far.get(there)


def test_a_killed_process_is_replaced_by_the_next_put(
    connector: ZMQConnector, process_of: Find, eventually: Eventually
) -> None:
    connector.set(connector.new_key("named"), b"lost")
    other = ZMQConnector.from_config(connector.config())
    other.put(b"so that it has connections")
    killed = process_of(connector).pid
    os.kill(killed, signal.SIGKILL)
    for each in (connector, other):
        assert b"new" == bytes(each.get(each.put(b"new")) or b"")
    assert killed != process_of(connector).pid
    assert connector.get(connector.new_key("named")) is None
    other.close()


@pytest.mark.slow
def test_a_killed_process_of_a_port_comes_back_on_that_port(
    networked: ZMQConnector, process_of: Find
) -> None:
    before = networked.config()
    os.kill(process_of(networked).pid, signal.SIGKILL)
    networked.put(b"x")
    assert before["home"] == process_of(networked).address


def test_a_wait_ends_when_the_process_is_killed(
    connector: ZMQConnector, process_of: Find
) -> None:
    key = connector.put(b"x")
    connector.evict(key)
    pid = process_of(connector).pid
    killing = threading.Timer(0.05, os.kill, (pid, signal.SIGKILL))
    killing.start()
    with pytest.raises(MediumGoneError):
        connector.wait(key, timeout=60)
    killing.join()


@pytest.mark.parametrize("call", ["put", "get"])
def test_a_process_that_stops_is_noticed_after_the_timeout(
    process_of: Find, call: str
) -> None:
    with ZMQConnector(timeout=0.2) as connector:
        key = connector.put(b"x")
        pid = process_of(connector).pid
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(ConnectorUnavailableError, match=r"no answer for 0\.2 s"):
                connector.put(b"y") if call == "put" else connector.get(key)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert b"x" == bytes(connector.get(key) or b"")


@pytest.mark.slow
def test_closing_does_not_wait_for_a_process_that_is_stopped(
    process_of: Find, eventually: Eventually, is_alive: Callable[[int], bool]
) -> None:
    connector = ZMQConnector()
    pid = process_of(connector).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        connector.close()
        assert time.monotonic() - begun < 5
    finally:
        os.kill(pid, signal.SIGCONT)
    assert eventually(lambda: not is_alive(pid))


@pytest.mark.slow
def test_a_slow_process_completes_a_large_object(process_of: Find) -> None:
    with ZMQConnector(timeout=5) as connector:
        pid = process_of(connector).pid
        done = threading.Event()

        def stutter() -> None:
            while not done.is_set():
                os.kill(pid, signal.SIGSTOP)
                time.sleep(0.02)
                os.kill(pid, signal.SIGCONT)
                time.sleep(0.005)

        stuttering = threading.Thread(target=stutter)
        stuttering.start()
        try:
            data = os.urandom(20 << 20)
            found = connector.get(connector.put(data))
        finally:
            done.set()
            stuttering.join()
        assert bytes(found or b"") == data, "the object came back different"


@pytest.fixture
def crowded(process_of: Find) -> Iterator[tuple[ZMQConnector, Callable[[], None]]]:
    """A connector whose process, stopped, has no place for another client, and what ends that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd: list[socket.socket] = []
    with ZMQConnector(timeout=20.0) as connector:
        found = process_of(connector)

        def go_on() -> None:
            while crowd:
                crowd.pop().close()
            os.kill(found.pid, signal.SIGCONT)

        os.kill(found.pid, signal.SIGSTOP)
        path = Place("zmq", connector.config()["namespace"]).file(found.instance)
        try:
            with pytest.raises(BlockingIOError):
                while True:
                    crowd.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                    crowd[-1].setblocking(False)
                    crowd[-1].connect(path)
            yield connector, go_on
        finally:
            go_on()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.parametrize("call", ["get", "put", "set", "evict", "wait"])
def test_who_finds_no_place_at_a_process_that_lives_gets_one_later(
    crowded: tuple[ZMQConnector, Callable[[], None]], call: str
) -> None:
    connector, go_on = crowded
    key = connector.new_key("awaited")
    with ZMQConnector.from_config(connector.config()) as late, ThreadPoolExecutor(1) as pool:
        arguments: dict[str, Any] = {"put": (b"x",), "set": (key, b"x"), "wait": (key, 20)}
        answer = pool.submit(getattr(late, call), *arguments.get(call, (key,)))
        with pytest.raises(TimeoutError):
            answer.result(0.3)
        go_on()
        if call == "wait":
            connector.set(key, b"x")
        answer.result(30)


@pytest.mark.slow
def test_who_finds_no_place_for_all_its_timeout_is_told_that_the_process_lives(
    crowded: tuple[ZMQConnector, Callable[[], None]],
) -> None:
    key = crowded[0].new_key("a")
    with ZMQConnector.from_config({**crowded[0].config(), "timeout": 0.1}) as late:
        for call in (late.get, late.evict):
            with pytest.raises(ConnectorUnavailableError, match=r"no place.* for 0\.1 s") as caught:
                call(key)
            assert not isinstance(caught.value, MediumGoneError)


# --- The connection -----------------------------------------------------------------


def test_a_get_that_is_cut_in_the_middle_is_completed_on_another_connection(
    networked: ZMQConnector, far: ZMQConnector, forwarder: Any
) -> None:
    data = os.urandom(8 << 20)
    key = forwarder.leads_to(networked.put(data))
    forwarder.cut(3 << 20, None)
    found = far.get(key)
    assert bytes(found or b"") == data, "the object came back different"
    assert forwarder.connections == 2


def test_a_set_that_is_cut_in_the_middle_says_so_and_sets_nothing(
    networked: ZMQConnector, far: ZMQConnector, forwarder: Any
) -> None:
    key = forwarder.leads_to(networked.new_key("large"))
    forwarder.cut(3 << 20)
    with pytest.raises(ConnectorUnavailableError, match="the connection ended"):
        far.set(key, os.urandom(8 << 20))
    assert not networked.exists(key)
    far.set(key, b"again")
    assert b"again" == bytes(networked.get(key) or b"")


def test_a_connection_that_was_cut_while_idle_is_not_used(
    networked: ZMQConnector, far: ZMQConnector, forwarder: Any
) -> None:
    key = forwarder.leads_to(networked.put(b"x"))
    forwarder.cut(900, None)
    for _ in range(30):
        assert b"x" == bytes(far.get(key) or b"")
    assert forwarder.connections >= 2


def test_a_wait_goes_on_when_its_connection_is_cut(
    networked: ZMQConnector, far: ZMQConnector, forwarder: Any
) -> None:
    key = networked.new_key("awaited")
    outcome: list[bool] = []
    # Enough for the handshake and the question.
    forwarder.cut(900, None)
    far_key = forwarder.leads_to(key)
    waiting = threading.Thread(target=lambda: outcome.append(far.wait(far_key, timeout=30)))
    waiting.start()
    networked.set(key, b"here")
    waiting.join(30)
    assert [True] == outcome


def test_a_port_where_nobody_listens_is_reported(networked: ZMQConnector) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        home = f"127.0.0.1:{unused.getsockname()[1]}"
        config = {**networked.config(), "namespace": "another", "home": home}
        with ZMQConnector.from_config(config) as other:
            for call in (lambda: other.put(b"x"), lambda: other.exists(other.new_key("a"))):
                with pytest.raises(ConnectorUnavailableError, match=home):
                    call()


def test_a_port_where_another_namespace_is_by_now_is_reported(networked: ZMQConnector) -> None:
    with ZMQConnector.from_config({**networked.config(), "namespace": "another"}) as other:
        with pytest.raises(MediumGoneError, match="another store process is in its place"):
            other.new_key("a")


def test_a_key_of_a_process_whose_port_another_one_has_by_now_is_reported(
    networked: ZMQConnector, far: ZMQConnector, forwarder: Any
) -> None:
    key = forwarder.leads_to(networked.put(b"x"))
    dead = key._replace(where="deadbeef" + key.where[8:])
    assert b"x" == bytes(far.get(key) or b"")
    with pytest.raises(MediumGoneError, match="another store process is in its place"):
        far.get(dead)
