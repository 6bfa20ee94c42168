"""Questions that inspecting code asks of any object, answered without its target.

A notebook that shows a variable, a debugger, or a test runner asks for names
that almost no object has. If each question resolved, tab completion could move
gigabytes.
"""

from __future__ import annotations

from types import ModuleType

__all__ = ["PROBE_NAMES", "is_absent", "is_probe"]

PROBE_NAMES: tuple[str, ...] = (
    # IPython and Jupyter.
    "_ipython_*",
    "_repr_*_",
    # rich; the last are names by which it finds objects that have every name.
    "__rich*",
    "_fields",
    "awehflow*",
    "awehoi234_*",
    "aihwerij235234ljsdnp34ksodfipwoe234234jlskjdf",
    # dataclasses, attrs.
    "__dataclass_fields__",
    "__attrs_attrs__",
    # inspect, functools, abc, asyncio.
    "__isabstractmethod__",
    "__partialmethod__",
    "_partialmethod",
    "__signature__",
    "__text_signature__",
    "__wrapped__",
    "_is_coroutine",
    "_is_coroutine_mark",
    "_is_coroutine_marker",
    # doctest, pytest, unittest.mock.
    "__pytest_wrapped__",
    "__test__",
    "__tracebackhide__",
    "_mock_*",
    "_pytestfixturefunction",
    "pytest_mock_example_attribute_that_shouldnt_exist",
    "pytestmark",
    # Dask asks each argument whether it is a collection.
    "__dask_*",
)
"""Names that an unresolved proxy answers from its recorded class alone.

``*`` stands for any characters. Without a recorded class they are absent
until the proxy is resolved, and so are those by which an object draws itself
(``_repr_*_``, ``_ipython_*``, ``__rich*``) in any case; ``_ipython_display_`` and
``_repr_mimebundle_`` are the proxy's own and give its card. ``_fields``, by which
rich knows named tuples, is absent only if the recorded class lacks it.
"""

_DRAWING = ("_ipython_", "_repr_", "__rich")
_EXACT = frozenset(name for name in PROBE_NAMES if "*" not in name)
_AROUND = tuple(tuple(name.split("*")) for name in PROBE_NAMES if "*" in name)


def is_probe(name: str) -> bool:
    """Whether ``name`` is in `PROBE_NAMES`."""
    return name in _EXACT or any(
        name.startswith(before) and name.endswith(after) for before, after in _AROUND
    )


def is_absent(name: str, cls: type | None) -> bool:
    """Whether an object of class ``cls`` (`None`: unknown) need not be asked for ``name``.

    True for probe names and special names (``__x__``) that the class lacks, and for
    those by which it draws itself, which would need the object.
    """
    if cls is None:
        return is_probe(name) and name != "_fields"
    if name.startswith(_DRAWING) and is_probe(name):
        return True
    if any(name in vars(base) for base in cls.__mro__):
        return False
    if is_probe(name):
        return True
    # Classes and modules carry special names that their own class lacks.
    is_special = name.startswith("__") and name.endswith("__")
    return is_special and not issubclass(cls, (type, ModuleType))
