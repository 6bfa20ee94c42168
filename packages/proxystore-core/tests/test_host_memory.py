"""How much memory this process may use."""

from __future__ import annotations

import os

from proxystore.host.memory import usable_nbytes


def test_usable_memory_is_at_most_that_of_the_machine() -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 1 << 20 < usable_nbytes() <= total
