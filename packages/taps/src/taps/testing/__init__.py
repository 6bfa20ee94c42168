"""The conformance kit for executors, and tasks to try one with.

Subclass `ExecutorContract` in a test module and give it a fixture::

    class TestMyClusterContract(ExecutorContract):
        @pytest.fixture
        def executor_config(self) -> MyClusterConfig:
            return MyClusterConfig(nodes=2)
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("taps.testing._contract")

from taps.testing import tasks  # noqa: E402 - after the rewrite is registered
from taps.testing._contract import ExecutorContract  # noqa: E402

__all__ = ["ExecutorContract", "tasks"]
