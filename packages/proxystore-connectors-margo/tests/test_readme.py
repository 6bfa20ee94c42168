"""The example in the README runs."""

from __future__ import annotations

import re
from pathlib import Path


def test_the_example_runs() -> None:
    page = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    example = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    exec(compile(example, "README.md", "exec"), {})
