"""The connectors of this family: their names, where they live, how to install them."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BUILT_IN", "SEPARATE", "Entry", "short_name"]


class Entry(NamedTuple):
    """One connector of this family."""

    kind: str
    """Its name in configs and URLs, and of its entry point."""
    module: str
    class_name: str

    @property
    def distribution(self) -> str:
        """Its name, as of `proxystore.errors.install_advice`."""
        return self.module.replace("_", "-")


BUILT_IN: tuple[Entry, ...] = (
    Entry("file", "proxystore.connectors.file", "FileConnector"),
    Entry("local", "proxystore.connectors.local", "LocalConnector"),
    Entry("multi", "proxystore.connectors.multi", "MultiConnector"),
    Entry("shm", "proxystore.connectors.shm", "ShmConnector"),
)
"""Those that come with `proxystore-core`."""

SEPARATE: tuple[Entry, ...] = (
    Entry("daos", "proxystore_connectors_daos", "DAOSConnector"),
    Entry("endpoint", "proxystore_connectors_endpoint", "EndpointConnector"),
    Entry("globus", "proxystore_connectors_globus", "GlobusConnector"),
    Entry("margo", "proxystore_connectors_margo", "MargoConnector"),
    Entry("obstore", "proxystore_connectors_obstore", "ObstoreConnector"),
    Entry("redis", "proxystore_connectors_redis", "RedisConnector"),
    Entry("ucx", "proxystore_connectors_ucx", "UCXConnector"),
    Entry("zmq", "proxystore_connectors_zmq", "ZMQConnector"),
)
"""Those in distributions of their own."""


def short_name(name: str) -> str:
    """``name`` as a kind: ``RedisConnector``, ``Redis`` and ``redis`` are one."""
    return name.lower().removesuffix("connector")
