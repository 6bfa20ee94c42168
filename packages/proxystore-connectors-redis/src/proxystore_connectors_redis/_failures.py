"""What goes wrong with a server, as errors that say what to do."""

from __future__ import annotations

import re
from typing import NamedTuple

from proxystore.errors import ConnectorUnavailableError, MediumFullError, ProxyStoreError
from proxystore_connectors_redis._wire import NotRedisError, ServerError

__all__ = ["Failures"]


class _Advice(NamedTuple):
    found: str
    advice: str


_LOGIN = (
    "Give username=..., and password='env:NAME' or another reference; see that this process finds "
    "the right secret there, and 'ACL LIST' on the server."
)
_MIGRATING = _Advice(
    "the cluster is moving the objects to another node", "Try again once it has."
)
_IN_CLUSTER = _Advice(
    "the server is a node of a cluster, and another node has what was asked for",
    "Name the cluster instead: cluster=['HOST:PORT'], or redis+cluster://HOST:PORT/0.",
)
# As words of a message: older servers put the code of what a script met behind text of their own.
_BY_CODE = {
    "NOAUTH": _Advice("the server wants a password, and none was given", _LOGIN),
    "WRONGPASS": _Advice("the server refused the user or the password", _LOGIN),
    "NOPERM": _Advice(
        "the user may not do this",
        "Allow it on the server: 'ACL SETUSER NAME ~ps:* &ps:* +@read +@write +@connection "
        "+@pubsub +@scripting +@transaction'.",
    ),
    "LOADING": _Advice(
        "the server has just started and is loading its data",
        "Try again once it has; 'redis-cli INFO persistence' says how far it is.",
    ),
    "READONLY": _Advice(
        "the server is a replica, which cannot be written", "Give the address of its primary."
    ),
    "MISCONF": _Advice(
        "the server takes no writes, for it cannot save its data to disk",
        "Make room on its disk, or see its log and its option stop-writes-on-bgsave-error.",
    ),
    "BUSY": _Advice(
        "a script of somebody has kept the server busy for long",
        "Try again, or end it with 'redis-cli SCRIPT KILL'.",
    ),
    "DB index is out of range": _Advice(
        "the server has no database of that number",
        "Give a smaller db: 'redis-cli CONFIG GET databases' says how many there are, which are "
        "numbered from 0.",
    ),
    "CLUSTERDOWN": _Advice(
        "the cluster has no node for some of its slots",
        "Bring back the nodes that failed; 'redis-cli CLUSTER NODES' says which.",
    ),
    "TRYAGAIN": _MIGRATING,
    "ASK": _MIGRATING,
    # In a script that removed the last thing that was still there, and wrote it again.
    "non local key": _MIGRATING,
    "MOVED": _IN_CLUSTER,
    "CROSSSLOT": _IN_CLUSTER,
}
_FULL = "OOM"
_ELSEWHERE = frozenset({"MOVED", "READONLY"})
_codes = re.compile(rf"\b({'|'.join((*_BY_CODE, _FULL))})\b").search


class Failures:
    """Makes errors of one server out of what is caught while using it.

    Args:
        where: The server, as a user would recognise it.
        timeout: Its timeout, in seconds.
    """

    def __init__(self, where: str, timeout: float) -> None:
        self.where = where
        self._timeout = timeout

    def explained(self, error: Exception, nbytes: int = 0) -> ProxyStoreError:
        """What ``error`` means.

        Args:
            error: A `ServerError`, a `NotRedisError` or an `OSError`.
            nbytes: Size of what was being stored.
        """
        if isinstance(error, ServerError):
            return self.refused(str(error), nbytes)
        if isinstance(error, (TimeoutError, BlockingIOError)):
            return self.timed_out()
        if isinstance(error, NotRedisError):
            return self._unavailable(
                f"it sent {error}, so it is not a Redis server",
                "Check the port, and whether it expects TLS (rediss://).",
            )
        return self._unavailable(
            f"the connection was lost, also when tried anew ({_said(error)})",
            "See whether the server runs and what its log says.",
        )

    def is_elsewhere(self, error: ServerError) -> bool:
        """Whether ``error`` says that by now another server has what was asked for."""
        match = _codes(str(error))
        return match is not None and match[0] in _ELSEWHERE

    def refused(self, text: str, nbytes: int = 0) -> ProxyStoreError:
        """What the error message ``text`` of the server means."""
        match = _codes(text)
        if match is None:
            return self._unavailable(f"the server says {text!r}", "See its log.")
        if match[0] == _FULL:
            return MediumFullError(
                self.where,
                nbytes,
                "The server has used its maxmemory. Evict objects, close stores that are not "
                "used any more, give objects a ttl, or raise maxmemory.",
            )
        return self._unavailable(*_BY_CODE[match[0]])

    def timed_out(self) -> ConnectorUnavailableError:
        """The error for a server that does not answer."""
        return self._unavailable(
            f"no byte came or went for {self._timeout:g} s",
            "See whether the server is overloaded or stopped, or give a longer timeout.",
        )

    def not_reached(self, error: BaseException) -> ConnectorUnavailableError:
        """The error for a server to which there is no connection."""
        return self._unavailable(
            f"no connection could be made ({_said(error)})",
            "Check address and port, that the server runs ('redis-cli PING'), and that no "
            "firewall is between.",
        )

    def not_found(self, said: str) -> ConnectorUnavailableError:
        """The error for a service of which sentinels cannot tell where it is."""
        return self._unavailable(
            f"the sentinels did not tell where it is ({said.rstrip('.')})",
            "Check the name of the service, and that they answer without a password: 'redis-cli "
            "-p 26379 SENTINEL MASTERS' lists what one knows.",
        )

    def exhausted(self, limit: int) -> ConnectorUnavailableError:
        """The error for a pool whose connections have all been busy for too long."""
        return self._unavailable(
            f"all {limit} connections of this process were busy for {self._timeout:g} s",
            "Use fewer threads at once, or give a longer timeout.",
        )

    def _unavailable(self, found: str, advice: str) -> ConnectorUnavailableError:
        return ConnectorUnavailableError(self.where, found, advice)


def _said(error: BaseException) -> str:
    return str(error).rstrip(".") or type(error).__name__
