"""Fixtures that several test files share."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from proxystore.proxy import _pure

# How quickly examples come is no claim: the first text() reads all of Unicode, on a busy machine.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")


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
