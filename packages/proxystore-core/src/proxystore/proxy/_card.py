"""What a notebook shows of a proxy: what is known of the target, without fetching it."""

from __future__ import annotations

from collections.abc import Sized
from html import escape
from typing import Any

from proxystore.factory import Factory

__all__ = ["card", "display_card", "measured"]


# Any in this module: targets are of any type, and proxies pass for theirs.
def card(proxy: Any) -> dict[str, str]:
    """The card of ``proxy`` by MIME type. Resolves nothing, asks no store, runs no factory."""
    rows = "".join(
        f'<tr><th style="text-align: left">{escape(name)}</th>'
        f'<td style="text-align: left"><code>{escape(fact)}</code></td></tr>'
        for name, fact in _facts(proxy).items()
    )
    return {"text/html": f"<table>{rows}</table>", "text/plain": repr(proxy)}


def display_card(proxy: Any) -> None:
    """Show the card in the running IPython.

    IPython asks for it before all else. Given the bundle only, it would still print a proxy
    of a list or dict item by item.
    """
    from IPython.display import display

    display(card(proxy), raw=True)  # type: ignore[no-untyped-call]


def measured(target: Any) -> dict[str, str]:
    """Shape, dtype and size of ``target``, as far as it has them. Costs a few us."""
    shape, dtype = _attribute(target, "shape"), _attribute(target, "dtype")
    facts = {}
    if isinstance(shape, tuple):
        facts["shape"] = str(tuple(shape))
    if dtype is not None:
        facts["dtype"] = str(dtype)
    size = _size(target)
    return facts if size is None else facts | {"size": size}


def _facts(proxy: Any) -> dict[str, str]:
    factory = proxy.__proxy_factory__
    is_resolved = proxy.__proxy_resolved__
    facts = measured(proxy.__proxy_target__) if is_resolved else {}
    told = factory.facts() if isinstance(factory, Factory) else {}
    facts |= {name: str(fact) for name, fact in (told or {"factory": repr(factory)}).items()}
    state = "resolved" if is_resolved else "not resolved"
    return {"proxy of": _type_name(proxy, is_resolved=is_resolved), **facts, "state": state}


def _type_name(proxy: Any, *, is_resolved: bool) -> str:
    cls = type(proxy.__proxy_target__) if is_resolved else proxy.__proxy_default_class__
    if cls is not None:
        name = f"{cls.__module__}.{cls.__qualname__}"
    else:
        # The name travels in the pickle, to where the class need not be loaded.
        name = next(iter(proxy.__reduce__()[1][1:]), None) or "not known until resolved"
    return name.removeprefix("builtins.")


def _size(target: Any) -> str | None:
    nbytes = len(target) if isinstance(target, (bytes, bytearray)) else _attribute(target, "nbytes")
    if isinstance(nbytes, int):
        return f"{nbytes:,} bytes"
    if type(target).__module__ == "builtins" and isinstance(target, Sized):
        return f"{len(target):,} items"
    return None


def _attribute(target: Any, name: str) -> Any:
    try:
        return getattr(target, name, None)
    except Exception:  # noqa: BLE001 - a property may raise anything, and a card leaves it out.
        return None
