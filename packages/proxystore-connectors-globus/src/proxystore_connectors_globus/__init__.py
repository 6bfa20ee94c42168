"""A connector that keeps objects in files which Globus Transfer copies between sites."""

from __future__ import annotations

from proxystore_connectors_globus._connector import GlobusConnector
from proxystore_connectors_globus._endpoints import GlobusEndpoint, GlobusEndpoints
from proxystore_connectors_globus._errors import LoginRequiredError, TransferFailedError
from proxystore_connectors_globus._keys import GlobusKey

__all__ = [
    "GlobusConnector",
    "GlobusEndpoint",
    "GlobusEndpoints",
    "GlobusKey",
    "LoginRequiredError",
    "TransferFailedError",
]
