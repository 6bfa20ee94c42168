"""The one class that a connector's test module subclasses."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from proxystore.abc import Capability, Key
from proxystore.testing._capabilities import (
    DeferrableContract,
    RangedContract,
    ReplaceableContract,
)
from proxystore.testing._claims import select_tests
from proxystore.testing._identity import (
    ClaimContract,
    ConfigContract,
    KeyContract,
    MediumContract,
)
from proxystore.testing._lifecycle import (
    CloseContract,
    ForkContract,
    OwnershipContract,
    ThreadContract,
)
from proxystore.testing._objects import BatchContract, BufferContract, ObjectContract
from proxystore.testing._processes import CrossProcessContract
from proxystore.testing._subject import Subject
from proxystore.testing._timing import AsyncContract, LeasableContract, WaitableContract

__all__ = ["ConnectorContract"]


class ConnectorContract(
    ObjectContract,
    BufferContract,
    BatchContract,
    KeyContract,
    ClaimContract,
    ConfigContract,
    MediumContract,
    CloseContract,
    OwnershipContract,
    ThreadContract,
    ForkContract,
    DeferrableContract,
    ReplaceableContract,
    RangedContract,
    WaitableContract,
    LeasableContract,
    AsyncContract,
    CrossProcessContract,
):
    """Everything that a connector must keep, as tests.

    Subclass it in a test module under a name that begins with ``Test``, state
    the ``capabilities``, and give a fixture ``connector`` that yields a
    connector to a medium of its own and closes it after the test::

        class TestRedisContract(ConnectorContract):
            capabilities = frozenset({Capability.DEFERRABLE, Capability.CROSS_PROCESS})

            @pytest.fixture
            def connector(self, redis_url: str) -> Iterator[RedisConnector]:
                with RedisConnector.from_url(redis_url, namespace=uuid4().hex) as connector:
                    yield connector

    The suites of claimed capabilities come with the class, those of others do
    not appear at all, and a test compares the claim with what the connector
    reports. A test may be overridden only by one marked
    ``xfail(reason=...)``; anything else is a `TypeError` when the class is made.

    The remaining attributes and methods are for media that differ from the usual.
    """

    capabilities: ClassVar[frozenset[Capability]]
    """What every connector of the fixture can do, no more and no less."""

    owns_medium: ClassVar[bool] = True
    """Whether the fixture's connector made its medium, so that its close clears it."""

    ttl: ClassVar[float] = 0.05
    """A short time to live, in seconds. Raise it where the medium counts in whole seconds."""

    def another(self, connector: Subject) -> Subject:
        """A second connector to the same medium, which does not own it."""
        rebuilt: Subject = type(connector).from_config(connector.config())
        return rebuilt

    def pass_time(self, seconds: float) -> None:
        """Return when objects with a ttl of ``seconds`` have ended."""
        time.sleep(seconds * 1.2)

    def stored_bytes(self, connector: Subject, key: Key) -> bytes | None:
        """Read the bytes of ``key`` in the medium without the connector; `None` if absent.

        Optional: overriding it adds tests that look at the medium itself.
        """
        raise LookupError(f"{type(self).__name__} has no stored_bytes() for {key!r}.")

    # Any: what type.__init_subclass__ takes.
    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not hasattr(cls, "capabilities"):
            raise TypeError(
                f"{cls.__name__} does not say what its connector can do. Add "
                f"capabilities = frozenset({{Capability.DEFERRABLE, ...}}), or frozenset()."
            )
        claims: set[Capability | str] = set(cls.capabilities)
        if cls.owns_medium:
            claims.add("owns_medium")
        if cls.stored_bytes is not ConnectorContract.stored_bytes:
            claims.add("stored_bytes")
        select_tests(ConnectorContract, cls, frozenset(claims))
