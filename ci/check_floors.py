"""Check that the distributions given as NAME==VERSION are installed here at just that version."""

from __future__ import annotations

import importlib.metadata
import re
import sys


def _release(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.sub(r"[^\d.].*", "", version).strip(".").split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def main(pins: list[str]) -> int:
    if not pins:
        print("check_floors: no floor was given, so nothing was checked.", file=sys.stderr)
        return 1
    wrong = []
    for pin in pins:
        name, _, floor = pin.partition("==")
        installed = importlib.metadata.version(name)
        if _release(installed) != _release(floor):
            wrong.append(f"{name}: the declared floor is {floor}, installed is {installed}")
    print("\n".join(wrong) or f"{len(pins)} declared floors are what is installed.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
