"""Readers that do not read, and objects that change while they are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zmq

from proxystore.serving import Announcement, Place
from proxystore_connectors_zmq import ZMQConnector, ZMQKey
from proxystore_connectors_zmq._wire import Op, Request

Find = Callable[[ZMQConnector], Announcement]
Eventually = Callable[[Callable[[], object]], bool]


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
