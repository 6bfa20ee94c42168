"""Write docs/reference/proxy-matrix.md from packages/proxystore-core/tests/proxy_matrix.py.

With --check, write nothing and exit with 1 if the page is not what it would be. The tests of
the package hold what the page says.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "packages/proxystore-core/tests/proxy_matrix.py"
PAGE = ROOT / "docs/reference/proxy-matrix.md"

# Not installed where the site is built; what is said of it is tested where it is.
UNSHOWN = {"torch tensor"}

HEAD = """\
<!-- Made by ci/proxy_matrix.py. -->

# What a proxy can do

`v` is a proxy of an object of each type, made by `store.proxy` or resolved.

- ✓: the proxy does what its object does.
- ✗: no object of another type could; see [below](#what-is-impossible).
- C: the C type can; the pure-Python proxy can from Python 3.12.
- ~: it can with some versions of Python or of the library.
- Empty: the object cannot do it either.

A `torch.Tensor` does everything that it does alone, functions of `torch` included, but for what
is listed below. `class C(v)` derives from the proxied class.
"""

IMPOSSIBLE = """\
## What is impossible

Each of these looks at the type of what it is given, and takes nothing but the type itself or
what derives from it. Pass what is named last instead. The error names the type of the proxy
where the function says what it found; it cannot name `extract`, for it is not ours.

| use | proxy of | what happens | instead |
|---|---|---|---|
"""

TAIL = """\

The same holds wherever a function of C or of the standard library checks types: `p in "text"`,
`"text".startswith(p)` and other methods of `str` and `bytes`, `getattr(x, p)`, `json.loads(p)`,
`eval(p)`, `Decimal(p)`, `Fraction(p)`, `datetime.strptime(p, ...)`, `timedelta(days=p)`,
`heapq.heapify(p)`, `time.sleep(p)`, `Enum(p)`, `case True`. `dataclasses.is_dataclass(p)` is
false. Before Python 3.14 the pure-Python proxy cannot be an argument but the first of
`pow(a, b, c)`. The way out is `extract(p)`.

Of a proxy that is neither resolved nor made with a known class (`store.proxy_from_key`, or
`Proxy(factory)` alone) nobody can know that it stands for a sequence, a mapping or a path:
`match` takes it for something else, and `os.path` raises an error that names `extract`. Resolve
it first. The same proxies are resolved by notebooks, which ask for the class of what they show.

A class derived from `Proxy` keeps its type, whatever it stands for. It matches no sequence or
mapping pattern, and has the buffer protocol from Python 3.12.

## What looks without resolving

`repr`, `dir`, `pprint`, `inspect`, doctest, `pdb`, pytest, rich and the notebook's card leave a
proxy of known class unresolved. These do not, because what they ask is a use of the object: the
items of a `list` or `dict` that IPython prints *inside* another list; the length of a `str` in a
traceback by rich; names and annotations of a function; every value, by `inspect.getmembers(v)`,
`rich.inspect(v)`, and `v?` and `%whos` in IPython.
"""


def _cell(matrix: dict[str, Any], use: str, name: str, make: Callable[[], Any]) -> str:
    if matrix["outcome"](matrix["USES"][use], make())[0] == "raises":
        return ""
    if any(name in entry.targets for entry in matrix["IMPOSSIBLE"].get(use, ())):
        return "✗"
    if name in matrix["VARIES"].get(use, ()):
        return "~"
    return "C" if name in matrix["NEEDS_C"].get(use, ()) else "✓"


def _table(matrix: dict[str, Any], family: str) -> list[str]:
    targets = {k: v for k, v in matrix["TARGETS"][family].items() if k not in UNSHOWN}
    lines = [f"## {family}", "", f"| | {' | '.join(targets)} |", "|---" * (len(targets) + 1) + "|"]
    for use in matrix["USES"]:
        cells = [_cell(matrix, use, name, make) for name, make in targets.items()]
        if any(cells):
            lines.append(f"| {use} | {' | '.join(cells)} |")
    return [*lines, ""]


def _impossible(matrix: dict[str, Any]) -> list[str]:
    everything = frozenset(name for family in matrix["TARGETS"].values() for name in family)
    order = [name for family in matrix["TARGETS"].values() for name in family]
    lines = []
    for use, entries in matrix["IMPOSSIBLE"].items():
        for targets, says, way_out in entries:
            names = [name for name in order if name in targets]
            who = "anything" if targets == everything else ", ".join(names)
            quoted = says.strip(" ,'")
            happens = f"an error: “{quoted}”" if says else "another result, or an error"
            lines.append(f"| {use} | {who} | {happens} | {way_out} |")
    return lines


def page() -> str:
    """The text of the page."""
    warnings.simplefilter("ignore")
    # Imported and not run: its classes must pickle.
    sys.path.insert(0, str(DATA.parent))
    matrix = vars(importlib.import_module(DATA.stem))
    lines = [line for family in matrix["TARGETS"] for line in _table(matrix, family)]
    return "\n".join([HEAD, *lines, IMPOSSIBLE + "\n".join(_impossible(matrix)), TAIL])


def main(arguments: list[str]) -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args(arguments).check:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE} is not what {Path(__file__).name} makes. Run: python {__file__}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
