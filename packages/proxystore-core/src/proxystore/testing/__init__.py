"""The conformance kit: subclass `ConnectorContract` to test a connector.

Needs the extra ``testing`` of proxystore-core. `proxystore.testing.saboteurs`
has the broken connectors that the kit itself is tested with.
"""

from __future__ import annotations

import pytest

# Before the suites are imported, or their asserts fail without saying what they compared.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{suite}"
        for suite in (
            "_capabilities",
            "_identity",
            "_lifecycle",
            "_objects",
            "_processes",
            "_timing",
        )
    )
)

from proxystore.testing._contract import ConnectorContract  # noqa: E402
from proxystore.testing._memory import MemoryConnector, MemoryKey  # noqa: E402
from proxystore.testing._peer import Peer  # noqa: E402

__all__ = [
    "ConnectorContract",
    "MemoryConnector",
    "MemoryKey",
    "Peer",
]
