"""Brokers whose library is missing say how to install it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A library that is not there, whatever is installed.
IMPORT = """
import sys
sys.modules["{library}"] = None
try:
    import proxystore_patterns.streams.brokers.{broker}
except ImportError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broker", "library"),
    [("redis", "redis"), ("zmq", "zmq"), ("rabbitmq", "pika"), ("kafka", "confluent_kafka")],
)
def test_a_broker_without_its_library_says_which_extra_it_needs(broker: str, library: str) -> None:
    code = IMPORT.format(broker=broker, library=library)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"ExtraNotInstalledError This needs the library {library!r}")
    assert f"pip install ./packages/proxystore-patterns[{broker}]" in done.stdout
