"""The conformance kit for brokers: subclass `BrokerContract` to test one.

`proxystore_patterns.testing.saboteurs` has the broken brokers that the kit itself is
tested with.
"""

from __future__ import annotations

import pytest

# Before the suites are imported, or their asserts fail without saying what they compared.
pytest.register_assert_rewrite(
    f"{__name__}._suites", f"{__name__}._groups", f"{__name__}._ends"
)

from proxystore_patterns.testing._broker import Broker  # noqa: E402
from proxystore_patterns.testing._contract import BrokerContract  # noqa: E402

__all__ = ["Broker", "BrokerContract"]
