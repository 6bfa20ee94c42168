"""`proxystore doctor`: what works in this environment, tried out."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import pickle
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from proxystore.abc import Medium
from proxystore.cli._table import print_table, size
from proxystore.connectors.file import FileConnector, list_media
from proxystore.connectors.load import connector_type
from proxystore.connectors.shm import ShmConnector
from proxystore.errors import ProxyStoreError, install_advice
from proxystore.host.node import this_node
from proxystore.store import Store

__all__ = ["DESCRIPTION", "arguments", "run"]

DESCRIPTION = """\
Try out what this environment needs to pass data by reference, and say what to do
about what does not work: storing an object and reading it in another process, in
shared memory and on disk; the room there is; installed connectors; leftovers.

The exit code is 1 if something does not work, 0 otherwise; advice alone is not
a failure. Nothing is removed that was there before."""

# One mapped object takes one descriptor before Python 3.13.
_FEW_DESCRIPTORS = 1024
# A container's default, which a few objects fill.
_LITTLE_SHARED_MEMORY = 64 << 20
_READER = """
import pickle, sys
proxy = pickle.load(sys.stdin.buffer)
sys.exit(0 if proxy.count(0) == 4096 else 1)
"""
_TIMEOUT = 60.0


class Verdict(Enum):
    """How a check ended."""

    OK = "ok"
    ADVICE = "advice"
    FAILED = "FAILED"


class Finding(NamedTuple):
    """What one check found, and what to do about it."""

    verdict: Verdict
    found: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `doctor`: none."""


def run(_: argparse.Namespace) -> int:
    """Print one line per check; 1 if one failed."""
    findings = [(name, _checked(check)) for name, check in _checks()]
    print_table(
        ("CHECK", "VERDICT", "FOUND"),
        [(name, finding.verdict.value, finding.found) for name, finding in findings],
    )
    return int(any(finding.verdict is Verdict.FAILED for _, finding in findings))


def _checks() -> Iterator[tuple[str, Callable[[], Finding]]]:
    yield "this environment", _environment
    yield "proxies", _proxies
    # Before others of these checks open stores: see what is there, as it is.
    yield "leftovers", _leftovers
    yield "shared memory", _shared_memory
    yield "embedded default", _embedded_default
    yield "files on disk", _files_on_disk
    yield "open files", _descriptors
    for point in sorted(importlib.metadata.entry_points(group="proxystore.connectors")):
        yield f"connector {point.name}", lambda kind=point.name: _connector(kind)  # type: ignore[misc]


def _checked(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (ProxyStoreError, OSError, ImportError, subprocess.TimeoutExpired) as error:
        return Finding(Verdict.FAILED, f"{error}")


def _environment() -> Finding:
    version = importlib.metadata.version("proxystore-core")
    described = f"Python {sys.version.split()[0]}, proxystore-core {version}, node {this_node()}"
    try:
        older = importlib.metadata.version("proxystore")
    except importlib.metadata.PackageNotFoundError:
        return Finding(Verdict.OK, described)
    return Finding(
        Verdict.FAILED,
        f"the older system, proxystore {older}, shares this environment and this import name. "
        f"Run: pip uninstall proxystore. {install_advice('proxystore-core', again=True)}",
    )


def _proxies() -> Finding:
    if importlib.util.find_spec("proxystore.proxy._c") is None:
        return Finding(
            Verdict.ADVICE,
            "of pure Python, 3 to 5 times as slow as of C, for proxystore-core was installed "
            "without a C compiler. Install one, and proxystore-core again from its source.",
        )
    if os.environ.get("PROXYSTORE_PURE_PYTHON", "0") not in {"", "0"}:
        return Finding(Verdict.OK, "of pure Python, as PROXYSTORE_PURE_PYTHON says")
    return Finding(Verdict.OK, "of C")


def _shared_memory() -> Finding:
    with ShmConnector(collect=False) as connector:
        path = connector.config()["store_dir"]
        room = os.statvfs(path)
        in_memory = connector.medium is Medium.SHARED_MEMORY
    free, total = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    found = f"{size(free)} free of {size(total)} at {Path(path).parent}"
    if not in_memory:
        advice = "no usable shared memory, so objects go to disk and are slower"
        return Finding(Verdict.ADVICE, f"{advice}: {found}")
    if total <= _LITTLE_SHARED_MEMORY:
        advice = "Give the container more (--shm-size), or name a directory for the store."
        return Finding(Verdict.ADVICE, f"{found}. {advice}")
    return Finding(Verdict.OK, found)


def _embedded_default() -> Finding:
    return _round_trip(Store("doctor", ShmConnector(collect=False)))


def _files_on_disk() -> Finding:
    with tempfile.TemporaryDirectory() as parent:
        return _round_trip(Store("doctor", FileConnector(f"{parent}/objects")))


# Any: of whatever connector.
def _round_trip(store: Store[Any]) -> Finding:
    """Store an object that another process, which knows nothing of it, then reads."""
    with store:
        proxy = store.proxy(bytearray(range(256)) * 4096)
        data = pickle.dumps(proxy)
        done = subprocess.run(
            [sys.executable, "-c", _READER],
            input=data,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["other bytes"]
        return Finding(Verdict.FAILED, f"another process could not read 1 MiB: {lines[-1]}")
    return Finding(Verdict.OK, f"another process read 1 MiB by a proxy of {len(data)} bytes")


def _descriptors() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"at most {soft} per process"
    if soft <= _FEW_DESCRIPTORS and sys.version_info < (3, 13):
        return Finding(
            Verdict.ADVICE,
            f"{found}; large objects in use take one each. Raise it: ulimit -n {hard}",
        )
    return Finding(Verdict.OK, found)


def _leftovers() -> Finding:
    dead = [info for info in list_media() if not info.alive]
    if dead:
        nbytes = sum(info.nbytes for info in dead)
        return Finding(
            Verdict.ADVICE,
            f"{len(dead)} directories of dead processes hold {size(nbytes)}. Run: proxystore gc",
        )
    return Finding(Verdict.OK, "none of dead processes")


def _connector(kind: str) -> Finding:
    found = connector_type(kind)
    return Finding(Verdict.OK, f"{found.__module__}.{found.__qualname__}")
