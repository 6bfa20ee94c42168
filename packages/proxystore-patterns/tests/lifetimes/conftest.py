"""What tests of lifetimes wait with."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

_TIMEOUT_S = 20


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], bool]:
    """Looks until something holds, and gives whether it did in time."""

    def look(holds: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + _TIMEOUT_S
        while not holds():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    return look
