"""Fixtures that several test files share."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from proxystore.proxy import _pure


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than a quarter of a second")


@pytest.fixture(scope="session", params=[_pure.Proxy], ids=["pure"])
def proxy_type(request: pytest.FixtureRequest) -> type[_pure.Proxy]:
    """Each implementation of `Proxy` that works here."""
    return request.param


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
