"""What both the stand-in and the real mochi.margo do, so that the one can stand for the other."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

SERVER = """
import sys
import mochi.margo as margo

with margo.Engine("na+sm", use_progress_thread=True, num_rpc_threads=1) as engine:
    memory = bytearray(b"0123456789")
    local = engine.create_bulk(memory, margo.bulk.read_write)

    def move(handle, op, remote, offset, size):
        try:
            xfer = getattr(margo.bulk, op)
            engine.transfer(xfer, handle.get_addr(), remote, offset, local, 0, size)
        except margo.core.MargoException as exc:
            handle.respond(("failed", str(exc)))
        else:
            handle.respond(("moved", bytes(memory)))

    engine.register("move", move)
    engine.register("echo", lambda handle, *args, **kwargs: handle.respond((args, kwargs)))
    engine.register("raises", lambda handle: 1 / 0)
    print(engine.address, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def engine(margo: ModuleType) -> Iterator[Any]:
    engine = margo.Engine("na+sm", margo.client, use_progress_thread=True)
    yield engine
    engine.finalize()


@pytest.fixture
def peer(engine: Any) -> Iterator[Any]:
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{SERVER}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield engine.lookup(process.stdout.readline().strip())
        process.kill()


def test_arguments_and_answers_are_pickled(engine: Any, peer: Any) -> None:
    mutable = [1]
    args, kwargs = engine.register("echo").on(peer)(mutable, b"x", named=None)
    assert ([1], b"x") == args
    assert {"named": None} == kwargs
    assert args[0] is not mutable
    with pytest.raises((pickle.PicklingError, AttributeError)):
        engine.register("echo").on(peer)(lambda: None)


def test_an_address_that_nobody_has_is_not_found(margo: ModuleType, engine: Any) -> None:
    with pytest.raises(margo.core.MargoException):
        engine.lookup("na+sm://1-77")


def test_a_function_that_is_not_registered_fails(margo: ModuleType, engine: Any, peer: Any) -> None:
    with pytest.raises(margo.core.MargoException):
        engine.register("unknown").on(peer)(timeout=2000)


def test_a_function_that_raises_never_answers(margo: ModuleType, engine: Any, peer: Any) -> None:
    with pytest.raises((margo.core.MargoException, TimeoutError)):
        engine.register("raises").on(peer)(timeout=50)


def test_memory_is_pulled_and_pushed(margo: ModuleType, engine: Any, peer: Any) -> None:
    memory = bytearray(b"abcdefghij")
    bulk = engine.create_bulk(memory, margo.bulk.read_write)
    move = engine.register("move").on(peer)
    assert ("moved", b"fgh3456789") == move("pull", bulk, 5, 3)
    assert "moved" == move("push", bulk, 6, 4)[0]
    assert b"abcdeffgh3" == memory


@pytest.mark.parametrize(
    ("mode", "op"), [("read_only", "push"), ("write_only", "pull")]
)  # fmt: skip
def test_a_mode_forbids_the_other_direction(
    margo: ModuleType, engine: Any, peer: Any, mode: str, op: str
) -> None:
    bulk = engine.create_bulk(bytearray(10), getattr(margo.bulk, mode))
    assert "failed" == engine.register("move").on(peer)(op, bulk, 0, 4)[0]


@pytest.mark.parametrize(("offset", "size"), [(0, 11), (8, 3), (10, 1)])
def test_no_transfer_passes_the_bounds(
    margo: ModuleType, engine: Any, peer: Any, offset: int, size: int
) -> None:
    bulk = engine.create_bulk(bytearray(10), margo.bulk.read_write)
    assert "failed" == engine.register("move").on(peer)("pull", bulk, offset, size)[0]
