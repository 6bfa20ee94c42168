"""The one class that a broker's test module subclasses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from proxystore.abc import Acknowledgement
from proxystore_patterns.streams import BrokerCapability, Delivery
from proxystore_patterns.testing._ends import (
    EachSuite,
    EndSuite,
    KeptSuite,
    OneSuite,
    RunSuite,
)
from proxystore_patterns.testing._groups import DeadLetterSuite, GroupSuite, ReplaySuite
from proxystore_patterns.testing._suites import ClaimSuite, MessageSuite, Suite

__all__ = ["BrokerContract"]

_CLAIMS = ("delivery", "capabilities", "acknowledges")


class BrokerContract(
    ClaimSuite,
    MessageSuite,
    EndSuite,
    RunSuite,
    EachSuite,
    KeptSuite,
    OneSuite,
    GroupSuite,
    DeadLetterSuite,
    ReplaySuite,
):
    """Everything that a broker must keep, as tests.

    Subclass it in a test module under a name that begins with ``Test``, state
    the claims, and give a fixture ``broker`` that yields a `Broker`::

        class TestRedisQueue(BrokerContract):
            delivery = Delivery.ONE
            capabilities = frozenset({BrokerCapability.NOTICES_LOSS})
            acknowledges = Acknowledgement.MEMORY

            @pytest.fixture
            def broker(self, redis_port: int) -> Iterator[Broker]: ...

    The suites of what is not claimed do not appear, and a test compares the
    claims with what the broker says. A test may be overridden only by one marked
    ``xfail(reason=...)``; anything else is a `TypeError` when the class is made.
    """

    delivery: ClassVar[Delivery]
    capabilities: ClassVar[frozenset[BrokerCapability]]
    acknowledges: ClassVar[Acknowledgement]

    # Any: what type.__init_subclass__ takes.
    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        absent = [claim for claim in _CLAIMS if not hasattr(cls, claim)]
        if absent:
            raise TypeError(f"{cls.__name__} does not state {', '.join(absent)} of its broker.")
        claims: set[BrokerCapability | Delivery] = {*cls.capabilities, cls.delivery}
        for name, needs, original in _tests():
            current = getattr(cls, name)
            if not needs <= claims:
                # Which pytest does not collect.
                setattr(cls, name, None)
            elif current is not original and not _is_excused(current):
                raise TypeError(
                    f"{cls.__name__}.{name} overrides a test of the contract. Remove it, or mark "
                    f"it with @pytest.mark.xfail(reason=...) to say what is not kept."
                )


# Any: tests differ in their parameters.
def _tests() -> Iterator[tuple[str, frozenset[Any], Callable[..., Any]]]:
    for suite in BrokerContract.__mro__:
        if issubclass(suite, Suite):
            for name, test in vars(suite).items():
                if name.startswith("test_"):
                    yield name, suite.needs, test


def _is_excused(test: object) -> bool:
    marks = getattr(test, "pytestmark", [])
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)
