"""Ownership: one owner of an object, and many readers or one writer beside it, anywhere."""

from __future__ import annotations

from proxystore_patterns.ownership._api import (
    borrow,
    clone,
    drop,
    into_owned,
    mut_borrow,
    own,
    update,
)
from proxystore_patterns.ownership._borrowed import _mut as _mut
from proxystore_patterns.ownership._borrowed import _ref as _ref
from proxystore_patterns.ownership._kinds import (
    BaseRefProxy,
    OwnedProxy,
    RefMutProxy,
    RefProxy,
    SharedProxy,
)
from proxystore_patterns.ownership._owned import _own as _own
from proxystore_patterns.ownership._scopes import FutureWithCallback, mark_refs_out_of_scope, submit
from proxystore_patterns.ownership._shared import _share as _share
from proxystore_patterns.ownership._shared import share

__all__ = [
    "BaseRefProxy",
    "FutureWithCallback",
    "OwnedProxy",
    "RefMutProxy",
    "RefProxy",
    "SharedProxy",
    "borrow",
    "clone",
    "drop",
    "into_owned",
    "mark_refs_out_of_scope",
    "mut_borrow",
    "own",
    "share",
    "submit",
    "update",
]
