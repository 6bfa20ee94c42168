"""The first load of an object that may be replaced: one request, as there is nothing to compare.

What is in the cache is asked for its generation first. What is not comes together with
it, where the connector can. Those who join the flight may have seen a replace that its
leader had not: they ask for the generation after all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["UNKNOWN", "FirstLoad"]

UNKNOWN = object()
"""Stands for an object that is not known to be the latest."""


# Any in this module: objects of every type, and keys of every connector.
class FirstLoad:
    """A load to fly with. Made by each who asks; only the leader's is called.

    Args:
        name: Of the flight.
        load: Gives the object and its generation.
        generation: Gives the generation as it is now.
    """

    __slots__ = ("_generation", "_load", "leads", "name")

    def __init__(
        self,
        name: tuple[Any, Any],
        load: Callable[[], tuple[Any, int | None]],
        generation: Callable[[], int | None],
    ) -> None:
        self.name = name
        self._load, self._generation = load, generation
        self.leads = False
        """Whether this is the load that was called."""

    def __call__(self) -> tuple[Any, int | None]:
        """The object and its generation."""
        self.leads = True
        return self._load()

    def latest(self, landed: tuple[Any, int | None]) -> Any:
        """The object, if it was the latest when it was asked for; else `UNKNOWN`."""
        obj, generation = landed
        return obj if self.leads or generation == self._generation() else UNKNOWN
