"""Servers that suites measure against, each on a free port of the loopback."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

_START_S = 30.0


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def redis_server() -> Iterator[int]:
    """The port of a Redis server that keeps nothing on disk.

    Raises:
        RuntimeError: No `redis-server` is installed, or it does not start.
    """
    program = shutil.which("redis-server") or shutil.which("redis-server", path="/usr/sbin")
    if program is None:
        raise RuntimeError("There is no redis-server here: run ci/services redis.")
    port = free_port()
    options = {"--port": str(port), "--bind": "127.0.0.1", "--save": "", "--appendonly": "no"}
    with _served([program, *(text for pair in options.items() for text in pair)], port):
        yield port


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """The address of a moto server, which speaks the protocol of S3.

    Raises:
        RuntimeError: It does not start.
    """
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _served(command, port):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _served(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command)} does not listen on port {port}.")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
