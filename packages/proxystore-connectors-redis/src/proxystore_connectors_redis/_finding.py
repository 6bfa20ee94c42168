"""Where a server is by now: sentinels tell of services, and nodes of the others of a cluster."""

from __future__ import annotations

import contextlib

from proxystore_connectors_redis._failures import Failures
from proxystore_connectors_redis._opening import opened
from proxystore_connectors_redis._server import Server, host_and_port
from proxystore_connectors_redis._wire import NotRedisError, ServerError, Wire, ask, command

__all__ = ["node_of", "primary_of"]


class _NoPrimaryError(Exception):
    """What a sentinel does, or names, leads to no primary."""


# --- Services -----------------------------------------------------------------


def primary_of(server: Server, failures: Failures) -> Wire:
    """A connection to the primary of the service, for which sentinels are asked in turn.

    Raises:
        ConnectorUnavailableError: None of them leads to one. It says what each said.
        RedisError: As `opened`: the primary refused us.
    """
    said: list[str] = []
    unusable: dict[Server, str] = {}
    for sentinel in server.sentinels:
        try:
            named = _named_by(sentinel, server)
        except _NoPrimaryError as error:
            said.append(f"{sentinel}: {error}")
            continue
        # Each is tried once, or one that is silent would cost the timeout for each sentinel.
        if named not in unusable:
            try:
                return _primary_at(named)
            except _NoPrimaryError as error:
                unusable[named] = str(error)
        said.append(f"{sentinel}: it names {named.hostname}:{named.port}, {unusable[named]}")
    raise failures.not_found("; ".join(said))


def _named_by(sentinel: str, server: Server) -> Server:
    """The server that ``sentinel`` names as the primary of the service."""
    from redis import exceptions

    # Without user and password, which are those of the service.
    asked = server._replace(username=None, password=None, db=0)
    request = command(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", str(server.service).encode())
    try:
        with contextlib.closing(opened(asked.at(*host_and_port(sentinel)))) as wire:
            told = ask(wire, request)
    except (exceptions.RedisError, OSError, NotRedisError, ServerError) as error:
        raise _NoPrimaryError(_why(error)) from error
    match told:
        case [bytes(host), bytes(port)]:
            return server.at(host.decode(), int(port))
    raise _NoPrimaryError("it does not know the service")


def _primary_at(named: Server) -> Wire:
    from redis import exceptions

    refusals = (exceptions.AuthenticationError, exceptions.BusyLoadingError)
    try:
        wire = opened(named)
    except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
        if isinstance(error, refusals):
            raise
        raise _NoPrimaryError(f"which cannot be reached ({_why(error)})") from error
    try:
        match ask(wire, command(b"ROLE")):
            case [b"master", *_]:
                return wire
        why = "which is a replica"
    except ServerError:
        # Users need not be allowed to ask. A replica then refuses what is written.
        return wire
    except (OSError, NotRedisError) as error:
        why = f"which cannot be used ({_why(error)})"
    except BaseException:
        wire.close()
        raise
    wire.close()
    raise _NoPrimaryError(why)


def _why(error: BaseException) -> str:
    from redis import exceptions

    if isinstance(error, (exceptions.TimeoutError, TimeoutError, BlockingIOError)):
        return "no answer in time"
    return str(error).rstrip(".") or type(error).__name__


# --- Clusters -----------------------------------------------------------------


def node_of(server: Server, name: bytes) -> Wire:
    """A connection to the node of the cluster that has the slot of ``name``.

    Raises:
        ServerError: A node knows of none.
        RedisError: As `opened`, of the last of the nodes that were named, or the one that
            has the slot.
    """
    host, wire = _any_of(server)
    try:
        ask(wire, command(b"EXISTS", name))
        return wire
    except ServerError as error:
        code, _, place = str(error).partition(" ")
        if code == "ASK":
            # The slot is on its way elsewhere, and what has not gone yet is still here.
            return wire
        wire.close()
        if code != "MOVED":
            raise
        # MOVED SLOT HOST:PORT, without the host if it is the one that was asked.
        moved_to, port = host_and_port(place.partition(" ")[2])
        return opened(server.at(moved_to or host, port))
    except BaseException:
        wire.close()
        raise


def _any_of(server: Server) -> tuple[str, Wire]:
    """The first of the nodes that can be reached: its host, and a connection."""
    from redis import exceptions

    *others, last = map(host_and_port, server.cluster)
    for host, port in others:
        with contextlib.suppress(exceptions.ConnectionError, exceptions.TimeoutError):
            return host, opened(server.at(host, port))
    return last[0], opened(server.at(*last))
