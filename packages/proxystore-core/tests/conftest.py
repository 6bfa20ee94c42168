"""Fixtures that several test files share."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from proxystore.proxy import _pure

# How quickly examples come is no claim: the first text() reads all of Unicode, on a busy machine.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


try:
    _c = importlib.import_module("proxystore.proxy._c")
except ModuleNotFoundError:
    _c = None


def pytest_report_header() -> str:
    """Say what is tested: a wheel without the C proxy must not pass for one with it."""
    return f"proxystore.proxy: {'the C type and its twin' if _c else 'NO C type, the twin only'}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what `needs_c` for the twin, on the Pythons where it needs it."""
    for item in items:
        marker = item.get_closest_marker("needs_c")
        params = getattr(getattr(item, "callspec", None), "params", {})
        if marker and params.get("proxy_type") == "pure":
            if sys.version_info < marker.kwargs.get("before", (99,)):
                item.add_marker(pytest.mark.skip(reason=f"needs_c: {marker.args[0]}"))


@pytest.fixture(scope="session")
def c_proxy() -> type[_pure.Proxy]:
    """The C implementation of `Proxy`."""
    if _c is None:
        pytest.skip("this proxystore-core was built without a C compiler")
    return _c.Proxy


@pytest.fixture(scope="session", params=["c", "pure"])
def proxy_type(request: pytest.FixtureRequest) -> type[_pure.Proxy]:
    """Each implementation of `Proxy`."""
    return _pure.Proxy if request.param == "pure" else request.getfixturevalue("c_proxy")


@pytest.fixture
def run_python() -> Callable[..., Any]:
    """Runs code in a new interpreter, which has ``given`` and sets ``result``."""

    def run(code: str, given: object = None) -> Any:
        lines = (
            "import pickle, sys",
            "given = pickle.load(sys.stdin.buffer)",
            code,
            "sys.stdout.buffer.write(pickle.dumps(result))",
        )
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(lines)],
            input=pickle.dumps(given),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return pickle.loads(done.stdout)

    return run


@pytest.fixture
def mount_tmpfs(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a small file system in memory at a new directory, until the test ends."""
    mounted: list[Path] = []

    def mount(options: str, name: str = "mounted") -> Path:
        where = tmp_path / name
        where.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(where)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no small mount: {done.stderr.strip()}")
        mounted.append(where)
        return where

    yield mount
    for where in reversed(mounted):
        subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.fixture
def start_python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts code in a new interpreter, with pipes of text; killed when the test ends."""
    with ExitStack() as stack:

        def start(code: str, *arguments: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-W", "ignore::RuntimeWarning", "-c", code, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(_ended, process)
            return process

        yield start


def _ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        # What was not sent to who is dead by now.
        with suppress(BrokenPipeError):
            pipe.close()
