"""The table of `nox -s bench -- connectors`: each connector beside what people use instead.

Margo and DAOS have no rows: their libraries cannot be installed here, and the
speed of a fake says nothing.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from processes import MeasuringProcess
from report import Row
from samples import median_of
from servers import free_port, redis_server, s3_server

_SIZES = {"1 KB": 1_000, "1 MB": 1_000_000, "100 MB": 100_000_000}
_ROUNDS = {"1 KB": 20, "1 MB": 20, "100 MB": 7}
_PER_ROUND = {"1 KB": 30, "1 MB": 10, "100 MB": 1}
_GIGABYTE = 1_000_000_000


class Side(NamedTuple):
    """One of the media that are compared, in the environment that has it."""

    title: str
    python: str
    medium: str
    # Any value that JSON has.
    options: dict[str, object]
    reader_environment: dict[str, str] | None = None

    def start(self) -> MeasuringProcess:
        """A process that measures it."""
        arguments = (json.dumps(self.options), json.dumps(self.reader_environment or {}))
        return MeasuringProcess(self.python, "roundtrip.py", self.medium, *arguments)


def measure(peer: str) -> Iterator[Row]:
    """Yield the rows one by one; `peer` is a Python with the older system and s3fs."""
    yield from _redis(peer)
    yield from _zmq(peer)
    yield from _ucx()
    yield from _obstore(peer)


def _redis(peer: str) -> Iterator[Row]:
    with redis_server() as port:
        place = {"hostname": "127.0.0.1", "port": port}
        ours = Side("redis", sys.executable, "redis", place)
        older = Side("1.1.0", peer, "redis", place)
        raw = Side(
            "raw sockets", sys.executable, "raw-redis", {"host": "127.0.0.1", "port": port}
        )
        targets = {"1 KB": 3.0, "1 MB": 5.0, "100 MB": 2.0}
        yield from _compared(ours, (older, targets), (raw, dict.fromkeys(_SIZES, 1 / 1.5)))
        yield from _memory(ours)


def _zmq(peer: str) -> Iterator[Row]:
    targets = {"1 KB": 5.0, "1 MB": 7.0, "100 MB": 4.0}
    older = Side("1.1.0", peer, "zmq", {"port": free_port()})
    ours = Side("zmq, one node", sys.executable, "zmq", {})
    yield from _compared(ours, (older, targets))
    yield from _memory(ours)
    older = Side("1.1.0, in the clear", peer, "zmq", {"port": free_port()})
    address: dict[str, object] = {"address": "127.0.0.1"}
    title = "zmq, authenticated channel"
    between = Side(title, sys.executable, "zmq", address, _ON_ANOTHER_NODE)
    yield from _compared(between, (older, {}))


# Where there is no socket of this node, and so nothing but the network.
_ON_ANOTHER_NODE = {"PROXYSTORE_RUNTIME_DIR": "/nonexistent"}


def _ucx() -> Iterator[Row]:
    ours = Side("ucx", sys.executable, "ucx", {})
    with ours.start() as process:
        process.ask(op="transfer", nbytes=_SIZES["100 MB"], n=3)
        pairs = process.ask(op="transfer", nbytes=_SIZES["100 MB"], n=15)
    for name, seconds in zip(("put", "get"), zip(*pairs, strict=True), strict=True):
        speed = median_of([_SIZES["100 MB"] / 1e9 / each for each in seconds])
        title = f"ucx, shared memory: {name} of 100 MB"
        yield Row(title, "GB/s", speed, None, None, ">= 5", speed.median >= 5)
    yield from _memory(ours)


def _obstore(peer: str) -> Iterator[Row]:
    with s3_server() as endpoint:
        _make_bucket(endpoint)
        # Where S3 clients look for credentials; the server takes any.
        os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
        ours = Side("obstore, S3", sys.executable, "obstore", {"url": _s3_url(endpoint)})
        theirs = Side("s3fs", peer, "s3fs", {"endpoint": endpoint, "bucket": "bench"})
        yield from _compared(ours, (theirs, {"1 KB": 2.0, "1 MB": 1.0, "100 MB": 1.0}))
        yield from _memory(ours)


def _s3_url(endpoint: str) -> str:
    return f"s3://bench/objects?endpoint={endpoint}"


def _make_bucket(endpoint: str) -> None:
    import urllib.request

    request = urllib.request.Request(f"{endpoint}/bench", method="PUT")
    urllib.request.urlopen(request, timeout=10).close()


def _compared(ours: Side, *others: tuple[Side, dict[str, float]]) -> Iterator[Row]:
    """One row a size and other side, all measured in turn; each with the ratio wanted, by size."""
    sides = [ours, *(side for side, _ in others)]
    with ExitStack() as stack:
        processes = [stack.enter_context(side.start()) for side in sides]
        for label in _SIZES:
            samples = _interleaved(label, processes)
            for (side, wanted), series in zip(others, samples[1:], strict=True):
                name = f"{ours.title} beside {side.title}, {label}"
                yield Row.compared(name, samples[0], series, wanted=wanted.get(label))


def _interleaved(label: str, processes: Sequence[MeasuringProcess]) -> list[list[float]]:
    """Milliseconds of put + pickle + other process + first use: a median a round and process."""
    request = {"op": "first use", "nbytes": _SIZES[label], "n": _PER_ROUND[label]}
    samples: dict[int, list[float]] = defaultdict(list)
    for number in range(_ROUNDS[label] + 1):
        order = list(enumerate(processes))
        for position, process in order if number % 2 else reversed(order):
            seconds = process.ask(**request)["seconds"]
            if number:  # The first round warms them up.
                samples[position].append(statistics.median(seconds) * 1e3)
    return [samples[position] for position in range(len(processes))]


def _memory(side: Side) -> Iterator[Row]:
    with side.start() as process:
        process.ask(op="first use", nbytes=1000, n=1)
        grown = process.ask(op="memory", nbytes=_GIGABYTE)
    for who, field in (("writer", "put"), ("reader", "get")):
        share = median_of([grown[field] / grown["nbytes"]])
        yield Row(
            f"{side.title}: private memory of the {who}, 1 GB",
            "x object",
            share,
            None,
            None,
            "<= 1.3",
            share.median <= 1.3,
        )
