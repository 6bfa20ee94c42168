"""Numbers as a reader wants them."""

from __future__ import annotations

__all__ = ["bytes_text", "ratio_text", "seconds_text"]


def seconds_text(seconds: float) -> str:
    """Three significant digits with the unit that suits."""
    if seconds >= 1 or seconds == 0:
        return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:,.0f} s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds * 1e6:.3g} us"


def bytes_text(nbytes: float) -> str:
    """Decimal units, as disks and networks have them."""
    for unit in ("B", "KB", "MB", "GB"):
        if nbytes < 999.5:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} TB"


def ratio_text(ratio: float | None) -> str:
    """Such as ``2.1x``; a dash for `None`."""
    return "-" if ratio is None else f"{ratio:.2f}x"
