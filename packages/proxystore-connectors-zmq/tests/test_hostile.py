"""Who is let in, and what strangers and other versions can do: nothing."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from proxystore.errors import ConnectorUnavailableError, SecretNotFoundError
from proxystore.secrets import generate_secret
from proxystore.serving import Announcement, Place
from proxystore_connectors_zmq import ZMQConnector
from proxystore_connectors_zmq._channel import Endpoint
from proxystore_connectors_zmq._client import Client
from proxystore_connectors_zmq._curve import Keys
from proxystore_connectors_zmq._wire import PROTOCOL, Op, Request

Find = Callable[[ZMQConnector], Announcement]
Eventually = Callable[[Callable[[], object]], bool]


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
