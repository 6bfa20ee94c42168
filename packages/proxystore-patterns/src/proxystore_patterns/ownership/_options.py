"""What may be chosen of an object that has owners."""

from __future__ import annotations

from typing import Any

__all__ = ["check_options"]

_TAKEN = {
    "evict": "the object ends with its owner, not with its first use",
    "inline": "an object that has an owner is always stored",
    "lifetime": "the object ends with its owner, and has no other end",
    "skip_nonproxiable": "None and bool cannot be owned",
    "ttl": "the object ends with its owner, and lease= bounds by how much it outlives a killed one",
}


# Any: options of `Store.proxy` and of connectors.
def check_options(asked: str, options: dict[str, Any], **taken: str) -> None:
    """See that ``options`` leave to ownership what it decides.

    Args:
        asked: By whom they are taken, as in ``"own()"``.
        options: As for `Store.proxy`.
        taken: Others that cannot be chosen, each with the reason.

    Raises:
        ValueError: They do not.
    """
    for name, why in (_TAKEN | taken).items():
        if name in options:
            raise ValueError(f"{asked} takes no {name}=: {why}. Leave it out.")
