"""What happens when something goes wrong: a clear error or a completed retry, never a hang."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from proxystore.errors import (
    ConnectorUnavailableError,
    MediumGoneError,
    SecretNotFoundError,
)
from proxystore.secrets import generate_secret
from proxystore.serving import Announcement, Place
from proxystore.testing import Peer
from proxystore_connectors_zmq import ZMQConnector, ZMQKey
from proxystore_connectors_zmq._channel import Endpoint
from proxystore_connectors_zmq._client import Client
from proxystore_connectors_zmq._curve import Keys
from proxystore_connectors_zmq._wire import PROTOCOL, Op, Request

Find = Callable[[ZMQConnector], Announcement]
Eventually = Callable[[Callable[[], object]], bool]


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as context:
        context.linger = 0
        yield context


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
                with pytest.raises(MediumGoneError, match=r"ended.* with it"):
                    call(key)
            connector.evict(key)
        with pytest.raises(MediumGoneError, match=r"ended.* with it"):
            connector.set(made, b"in vain")
        if not restarted:
            connector.put(b"so that another process is started")
    assert made != connector.new_key("lost")
    connector.set(connector.new_key("lost"), b"anew")


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


# --- Who is let in --------------------------------------------------------------------


def test_who_has_another_secret_is_told_so_and_not_let_in(
    networked: ZMQConnector, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {**networked.config(), "secret": generate_secret("another")}
    networked.set(networked.new_key("a"), b"x")
    with monkeypatch.context() as patch:
        patch.setenv("PROXYSTORE_RUNTIME_DIR", str(runtime / "none"))
        stranger = ZMQConnector.from_config(config)
    with stranger, pytest.raises(ConnectorUnavailableError, match="refused") as caught:
        stranger.get(stranger.new_key("a"))
    assert "secret" in caught.value.advice


def test_a_secret_that_is_missing_is_named_with_what_needs_it(
    networked: ZMQConnector, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PROXYSTORE_RUNTIME_DIR", str(runtime / "none"))
        other = ZMQConnector.from_config({**networked.config(), "secret": "env:NO_SUCH"})
    with other, pytest.raises(SecretNotFoundError, match=networked.config()["namespace"]):
        other.get(other.new_key("a"))


def test_a_client_of_the_right_server_key_alone_is_not_let_in(
    networked: ZMQConnector, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    keys = Keys.read(generate_secret("zmq"), "a test")
    public, secret = zmq.curve_keypair()
    thief = context.socket(zmq.DEALER)
    thief.curve_serverkey = keys.server.public
    thief.curve_publickey, thief.curve_secretkey = public, secret
    thief.connect(f"tcp://{networked.config()['home']}")
    thief.send(Request(Op.PUT, 1, "stolen", data=b"x").encode())
    assert not thief.poll(300)
    assert not networked.exists(networked.new_key("stolen"))


# --- Hostile frames ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def victim(runtime: Path) -> Iterator[ZMQConnector]:
    with ZMQConnector(address="127.0.0.1") as victim:
        victim.set(victim.new_key("kept"), b"as it was")
        yield victim


@pytest.fixture(scope="module")
def doors(victim: ZMQConnector) -> dict[str, Any]:
    place = Place("zmq", victim.config()["namespace"])
    found = place.announced()
    assert found is not None
    host, _, port = found.address.rpartition(":")
    return {"ipc": place.file(found.instance), "tcp": (host, int(port))}


@pytest.mark.parametrize("door", ["ipc", "tcp"])
@settings(max_examples=40)
@given(chunks=st.lists(st.binary(min_size=1, max_size=300), max_size=3))
def test_bytes_of_a_stranger_change_nothing(
    victim: ZMQConnector, doors: dict[str, Any], door: str, chunks: list[bytes]
) -> None:
    family = socket.AF_UNIX if door == "ipc" else socket.AF_INET
    with socket.socket(family) as stranger:
        stranger.connect(doors[door])
        try:
            # What a ZMTP 3 peer says first, so that some of it comes further.
            for chunk in (b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48), *chunks):
                stranger.sendall(chunk)
        except ConnectionError:
            pass
    assert b"as it was" == bytes(victim.get(victim.new_key("kept")) or b"")


MUTATED = st.builds(
    lambda op, data, at, byte: (
        (frame := bytearray(Request(op, 1, "x", 9, 9, None, data).encode())).__setitem__(
            at % len(frame), byte
        )
        or bytes(frame)
    ),
    st.sampled_from([op for op in Op if op not in {Op.EVICT, Op.REPLACE, Op.BEGIN_REPLACE}]),
    st.binary(max_size=60),
    st.integers(0, 200),
    st.integers(0, 255),
)


@settings(max_examples=60)
@given(messages=st.lists(st.lists(st.binary(max_size=100) | MUTATED, min_size=1), max_size=8))
def test_frames_of_garbage_change_nothing(
    victim: ZMQConnector,
    doors: dict[str, Any],
    context: zmq.Context[zmq.Socket[bytes]],
    messages: list[list[bytes]],
) -> None:
    with context.socket(zmq.DEALER) as stranger:
        stranger.connect(f"ipc://{doors['ipc']}")
        for frames in messages:
            stranger.send_multipart(frames)
        stranger.send(Request(Op.FIND, 77, "kept").encode())
        while True:
            assert stranger.poll(10_000), "the store process does not answer"
            if stranger.recv_multipart()[0][8:12] == (77).to_bytes(4, "little"):
                break
    assert b"as it was" == bytes(victim.get(victim.new_key("kept")) or b"")


def test_frames_without_a_key_reach_nothing(
    victim: ZMQConnector, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    with context.socket(zmq.DEALER) as stranger:
        stranger.connect(f"tcp://{victim.config()['home']}")
        stranger.send(Request(Op.PUT, 1, "planted", data=b"x").encode())
        assert not stranger.poll(200)
    assert not victim.exists(victim.new_key("planted"))


def test_a_frame_that_claims_to_be_huge_ends_its_connection_only(
    victim: ZMQConnector, doors: dict[str, Any]
) -> None:
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(doors["ipc"])
        stranger.settimeout(10)
        # The greeting and READY of ZMTP 3 as a DEALER, then a frame of an exabyte.
        ready = b"\x05READY\x0bSocket-Type" + (6).to_bytes(4, "big") + b"DEALER"
        stranger.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48))
        stranger.sendall(b"\x04" + bytes([len(ready)]) + ready)
        stranger.sendall(b"\x02" + (1 << 60).to_bytes(8, "big") + b"x" * 1000)
        with pytest.raises((ConnectionError, EOFError)):
            while stranger.recv(4096):
                pass
            raise EOFError
    assert b"as it was" == bytes(victim.get(victim.new_key("kept")) or b"")


# --- Two versions -------------------------------------------------------------------------


def test_a_process_of_another_version_is_told_apart_before_it_is_used(
    connector: ZMQConnector, process_of: Find
) -> None:
    found = process_of(connector)
    place = Place("zmq", connector.config()["namespace"])
    announced = json.loads(Path(place.file("address")).read_text())
    Path(place.file("address")).write_text(json.dumps({**announced, "protocol": 99}))
    with ZMQConnector.from_config(connector.config()) as other:
        with pytest.raises(ConnectorUnavailableError, match="version 99 of its protocol"):
            other.put(b"x")
    Path(place.file("address")).write_text(json.dumps(announced))
    assert found == place.announced()


def test_an_answer_of_another_version_is_reported(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    url = f"inproc://{tmp_path.name}"
    server = context.socket(zmq.ROUTER)
    server.bind(url)

    def answer() -> None:
        client, request = server.recv_multipart()
        newer = bytearray(request)
        newer[4] = PROTOCOL + 1
        server.send_multipart([client, bytes(newer)])

    answering = threading.Thread(target=answer)
    answering.start()
    client = Client(context, Endpoint(url, "a newer process"), 10.0)
    with pytest.raises(ConnectorUnavailableError, match=f"speaks version {PROTOCOL + 1}"):
        client.generation("a")
    answering.join(10)
    client.close()
    server.close()


# --- Readers that do not read ---------------------------------------------------------------


def private_nbytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("RssAnon"))
    return int(kilobytes) << 10


class Idler:
    """A client that asks and does not read."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], path: str) -> None:
        self._socket = context.socket(zmq.DEALER)
        self._socket.rcvhwm = 1
        self._socket.sndtimeo = 20_000
        self._socket.connect(f"ipc://{path}")

    def ask(self, op: Op, key: ZMQKey, offset: int = 0) -> None:
        self._socket.send(Request(op, 1, key.id, offset, 1 << 40).encode())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("nbytes", "offset", "times", "objects"),
    [(24 << 20, 0, 5, 40), (24 << 20, 1, 5, 40), (10_000, 0, 20_000, 1)],
    ids=["objects", "parts", "small"],
)
def test_what_waits_for_readers_that_do_not_read_is_bounded(
    context: zmq.Context[zmq.Socket[bytes]],
    process_of: Find,
    eventually: Eventually,
    nbytes: int,
    offset: int,
    times: int,
    objects: int,
) -> None:
    with ZMQConnector(max_nbytes=64 << 20) as connector:
        found = process_of(connector)
        path = Place("zmq", connector.config()["namespace"]).file(found.instance)
        idlers = [Idler(context, path) for _ in range(4)]
        before = private_nbytes(found.pid)
        for number in range(objects):
            key = connector.put(bytes(nbytes + number))
            heard = [connector.put(b"evicted by an idler, in order") for _ in idlers]
            for idler, each in zip(idlers, heard, strict=True):
                for _ in range(times):
                    idler.ask(Op.GET, key, offset)
                idler.ask(Op.EVICT, each)
            assert eventually(lambda: not any(map(connector.exists, heard)))
            connector.evict(key)
        # The objects, a quarter more, and for each idler what a message holds.
        assert private_nbytes(found.pid) - before < (64 + 16 + 4 * 2 + 30) << 20
        data = os.urandom(20 << 20)
        found_data = connector.get(connector.put(data))
        assert bytes(found_data or b"") == data, "the object came back different"


@pytest.mark.slow
def test_an_object_that_is_replaced_while_it_is_read_comes_back_whole(
    connector: ZMQConnector,
) -> None:
    key = connector.new_key("replaced")
    connector.set(key, bytes(9 << 20))
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: [connector.get(key) for _ in range(30)])
        number = 0
        while not reading.done():
            number = number % 250 + 1
            connector.replace(key, bytes([number]) * ((9 << 20) + number))
    for found in reading.result():
        assert found is not None
        assert len(found) == (9 << 20) + found[0]
        assert found.count(found[0]) == len(found), "a mixture of two objects"


@pytest.mark.slow
def test_an_object_that_is_evicted_while_it_is_read_is_whole_or_absent(
    connector: ZMQConnector,
) -> None:
    for _ in range(20):
        key = connector.put(bytes(9 << 20))
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(connector.get, key)
            connector.evict(key)
        found = reading.result()
        assert found is None or len(found) == 9 << 20
