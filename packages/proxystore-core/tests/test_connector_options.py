"""What connectors ask of the arguments of their methods."""

from __future__ import annotations

from typing import Any

import pytest

from proxystore.connectors.options import check_range


@pytest.mark.parametrize(("offset", "length"), [("0", 1), (0, None), (0.5, 1), (b"", 1)])
def test_a_range_of_anything_but_whole_numbers_is_refused(offset: Any, length: Any) -> None:
    with pytest.raises(TypeError, match="offset and length are whole numbers, not"):
        check_range(offset, length)


def test_a_range_may_be_larger_than_any_object() -> None:
    check_range(0, 1 << 70)
