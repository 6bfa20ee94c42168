"""Which tests a contract class gets, and the guard against overriding them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from proxystore.abc import Capability

if TYPE_CHECKING:
    from proxystore.testing._subject import Subject

__all__ = ["Suite", "requires", "select_tests"]

# Any: a test takes whatever fixtures it names.
TestT = TypeVar("TestT", bound=Callable[..., Any])


class Suite:
    """Tests that belong together, and what a connector must claim to get them."""

    needs: ClassVar[frozenset[Capability | str]] = frozenset()
    """Capabilities, names of hooks that the class must override, or ``"owns_medium"``."""

    if TYPE_CHECKING:
        capabilities: ClassVar[frozenset[Capability]]
        ttl: ClassVar[float]

        def another(self, connector: Subject) -> Subject: ...
        def pass_time(self, seconds: float) -> None: ...
        def stored_bytes(self, connector: Subject, key: tuple[Any, ...]) -> bytes | None: ...


def requires(*claims: Capability | str) -> Callable[[TestT], TestT]:
    """Mark one test of a suite as needing more than the suite does."""

    def mark(test: TestT) -> TestT:
        vars(test)["contract_needs"] = frozenset(claims)
        return test

    return mark


def select_tests(contract: type, subclass: type, claims: frozenset[Capability | str]) -> None:
    """Leave ``subclass`` exactly the tests of ``contract`` that its claims call for.

    A test that is not called for is hidden by `None`, which pytest does not
    collect. One that the subclass replaced is refused, unless by an xfail that says why.

    Raises:
        TypeError: A contract test was overridden without ``xfail(reason=...)``.
    """
    for name, needs, original in _tests_of(contract):
        current = getattr(subclass, name)
        if not needs <= claims:
            setattr(subclass, name, None)
        elif current is None and name not in vars(subclass):
            setattr(subclass, name, original)
        elif current is not original and not _is_excused(current):
            raise TypeError(
                f"{subclass.__name__}.{name} overrides a test of the connector contract. Remove "
                f"it, or mark it with @pytest.mark.xfail(reason=...) to say what is not kept."
            )


# Any: tests differ in their parameters.
def _tests_of(contract: type) -> Iterator[tuple[str, frozenset[Any], Callable[..., Any]]]:
    for suite in contract.__mro__:
        if not issubclass(suite, Suite):
            continue
        for name, test in vars(suite).items():
            if name.startswith("test_"):
                yield name, suite.needs | getattr(test, "contract_needs", frozenset()), test


def _is_excused(test: object) -> bool:
    marks = getattr(test, "pytestmark", [])
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)
