"""Measures put + pickle + another process + first use, with any `proxystore`, over any medium.

The first argument is the name of a medium of `media.py`, the second its options as
JSON. The same file runs in the environment of this repository and in that of the
older system. Started with ``--consumer`` it is the other process.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

import numpy as np

# Isolated interpreters do not look beside the script.
sys.path.insert(0, str(Path(__file__).parent))

import media

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

# Small and cheap, for what the pipe costs is measured with the rest.
_REQUEST = struct.Struct("<cI")
_ANSWER = struct.Struct("<dqd")


def private_nbytes() -> int:
    """Private memory of this process: what shared mappings do not account for."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("No RssAnon in /proc/self/status: private memory needs Linux >= 4.5.")


class PrivateMemoryPeak:
    """Samples private memory in a thread; `growth` is the peak over the start."""

    def __enter__(self) -> Self:
        self._start = self._peak = private_nbytes()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._stop.wait(0.0005):
            self._peak = max(self._peak, private_nbytes())

    def __exit__(self, *exc: object) -> None:
        self._peak = max(self._peak, private_nbytes())
        self._stop.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        """Bytes that the peak was over the start."""
        return self._peak - self._start


def consume() -> None:
    """Serve the other side of the pipe: resolve each proxy, touch it, answer."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while header := source.read(_REQUEST.size):
        mode, length = _REQUEST.unpack(header)
        data = source.read(length)
        growth = 0
        start = time.perf_counter()
        if mode == b"m":
            with PrivateMemoryPeak() as memory:
                touched = _touch(data, mode)
            growth = memory.growth
        else:
            touched = _touch(data, mode)
        sink.write(_ANSWER.pack(touched, growth, time.perf_counter() - start))
        sink.flush()


def _touch(data: bytes, mode: bytes) -> float:
    proxy = pickle.loads(data)
    return float(proxy.sum()) if mode == b"a" else float(proxy[-1])


def memcpy_seconds(array: FloatArray, n: int) -> list[float]:
    """Of copies of the array into memory that was used before."""
    target = np.zeros_like(array)
    np.copyto(target, array)
    seconds = []
    for _ in range(n):
        start = time.perf_counter()
        np.copyto(target, array)
        seconds.append(time.perf_counter() - start)
    return seconds


class Roundtrip:
    """A medium and a consumer beside it."""

    def __init__(self, medium: media.Medium, consumer: subprocess.Popen[bytes]) -> None:
        self.medium, self.consumer = medium, consumer

    def once(self, array: FloatArray, mode: bytes) -> tuple[float, float, int, int]:
        """Seconds for one object, those at work, growth of the consumer, and the pickled size.

        At work is what both processes do; the rest is the pipe between them, and the
        system waking one when the other has written, which no store can change.
        """
        start = time.perf_counter()
        proxy = self.medium.proxy(array)
        data = pickle.dumps(proxy)
        sent = time.perf_counter() - start
        self.consumer.stdin.write(_REQUEST.pack(mode, len(data)) + data)
        self.consumer.stdin.flush()
        touched, growth, used = _ANSWER.unpack(self.consumer.stdout.read(_ANSWER.size))
        elapsed = time.perf_counter() - start
        expected = float(array.sum()) if mode == b"a" else float(array[-1])
        if touched != expected:
            raise RuntimeError(f"Read {touched} where {expected} was stored.")
        self.medium.evict(proxy)
        return elapsed, sent + used, growth, len(data)

    # Any: each request has an answer of its own.
    def answer(self, request: dict[str, Any]) -> Any:
        """Handle one request of the driver."""
        array = np.random.default_rng(0).random(max(1, request["nbytes"] // 8))
        if request["op"] == "memory":
            with PrivateMemoryPeak() as memory:
                _, _, consumed, _ = self.once(array, b"m")
            return {"put": memory.growth, "get": consumed, "nbytes": array.nbytes}
        if request["op"] == "transfer":
            return [self.medium.transfer_seconds(array) for _ in range(request["n"])]
        if request["op"] == "memcpy":
            return memcpy_seconds(array, request["n"])
        mode = b"a" if request["op"] == "every byte" else b"f"
        times, at_work, size = [], [], 0
        for _ in range(request["n"]):
            elapsed, working, _, size = self.once(array, mode)
            times.append(elapsed)
            at_work.append(working)
        return {"seconds": times, "at work": at_work, "pickled": size}


def main() -> None:
    """Serve the driver on standard input, or the other process in `consume`."""
    if "--consumer" in sys.argv:
        consume()
        return
    name, options, *environment = sys.argv[1], *map(json.loads, sys.argv[2:])
    with media.opened(name, options) as medium:
        consumer = subprocess.Popen(
            [sys.executable, "-I", __file__, "--consumer"],
            env=dict(os.environ, **(environment[0] if environment else {})),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        served = Roundtrip(medium, consumer)
        try:
            for line in sys.stdin:
                print(json.dumps(served.answer(json.loads(line))), flush=True)
        finally:
            consumer.stdin.close()
            consumer.wait(timeout=10)


if __name__ == "__main__":
    main()
