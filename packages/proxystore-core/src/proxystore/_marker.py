"""Marks a `proxystore` package as this one; the older system has no such module.

The older system is another distribution that installs into the same import
package. Whichever is installed or removed last leaves a mixture of both.
"""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["MARK", "__version__", "require_whole"]

__version__ = "0.7.0"

MARK: Final = object()
"""What `proxystore/__init__.py` holds as ``_MARK`` if it is ours."""


def require_whole() -> None:
    """Check that the older system has not replaced or removed part of this package.

    Called at import by the packages that survive such a replacement. Costs
    two dictionary look-ups.

    Raises:
        OverwrittenPackageError: `proxystore/__init__.py` is not ours, or is gone.
    """
    package = sys.modules["proxystore"]
    if vars(package).get("_MARK") is MARK:
        return
    from proxystore.errors import OverwrittenPackageError

    raise OverwrittenPackageError(getattr(package, "__file__", None))
