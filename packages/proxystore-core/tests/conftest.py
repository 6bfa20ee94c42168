"""Fixtures that several test files share."""

from __future__ import annotations

import pytest

from proxystore.proxy import _pure


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than a quarter of a second")


@pytest.fixture(scope="session", params=[_pure.Proxy], ids=["pure"])
def proxy_type(request: pytest.FixtureRequest) -> type[_pure.Proxy]:
    """Each implementation of `Proxy` that works here."""
    return request.param
