"""Dask with data that goes by store. Needs the extra ``dask``.

Two things move: arguments inside graphs, as parcels, which belong to the scheduler while it
may still run their tasks; and whatever processes send to each other, as slips in messages.
"""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from proxystore.payload import BytesLike
from proxystore.store import Store
from proxystore_patterns._extras import importing
from proxystore_patterns.executors._frames import Route, Slip

with importing("dask"):
    import dask.config
    import distributed
    from distributed.protocol.serialize import families, register_serialization_family
    from distributed.utils import has_keyword

    from proxystore_patterns.executors._dask_executor import DaskExecutor
    from proxystore_patterns.executors._parcels import ParcelPickler, keep_parcels, open_parcels

__all__ = ["DaskExecutor", "dask_setup", "stop_using_store", "use_store"]

# Any in this module: objects of every type, headers and configuration of Dask.
_Message: TypeAlias = tuple[dict[str, Any], Sequence[BytesLike]]

_FAMILIES = ("dask", "pickle")
_HEADER = "proxystore"
_MODULE = "proxystore_patterns.executors.dask"
_PRELOADS = tuple(f"distributed.{role}.preload" for role in ("worker", "scheduler"))
# It has no types.
_register: Callable[..., None] = register_serialization_family
_before: dict[str, Any] = {}
_kept: list[Store[Any]] = []


def use_store(
    store: Store[Any],
    *,
    min_nbytes: int = 100_000,
    lease: float = 600.0,
    grace: float = 30.0,
) -> None:
    """Let Dask move what is large by ``store``, here and in clusters that are started here.

    Programs get their objects, not proxies, and need no change. For schedulers and workers
    that are started elsewhere, see `dask_setup`.

    Args:
        store: Its connector must reach all processes, and have times to live. Open as long
            as the cluster is; this does not close it.
        min_nbytes: What goes by store: arrays, tables and tensors in graphs, and parts of
            messages, of this size or more.
        lease: Seconds after which the medium removes what nobody has received.
        grace: Seconds for which it keeps a message that was read, for other readers.

    Raises:
        CapabilityError: The connector has no times to live, or reaches one process only.
        ValueError: A number that cannot be.
    """
    route = Route.by(store, min_nbytes, lease, grace)
    _move_by(route)
    # Workers started from here get this configuration, before their preloads run.
    preloads = {name: [*dask.config.get(name), _MODULE] for name in _PRELOADS}
    # The scheduler would keep the data of its last 1000 messages, in case somebody asks.
    no_log = {"distributed.admin.low-level-log-length": 0}
    dask.config.set({"proxystore.route": _plain(route), **preloads, **no_log})


def stop_using_store() -> None:
    """Let Dask serialize here as it did before."""
    for name, (dumps, loads) in _before.items():
        _register(name, dumps, loads)
    _before.clear()
    kept = {n: [m for m in dask.config.get(n) if m != _MODULE] for n in _PRELOADS}
    dask.config.set({"proxystore.route": None, **kept})


def dask_setup(server: Any) -> None:
    """Dask's hook: what it calls if its configuration names this module as a ``preload``.

    The store is that of `use_store` in the process that started this one, or the one at
    ``proxystore.url``, with ``proxystore.min-nbytes``, ``lease`` and ``grace`` beside it.

    Args:
        server: The worker, scheduler or client that is starting.

    Raises:
        KeyError: The configuration names no store.
    """
    if isinstance(server, distributed.Scheduler):
        keep_parcels()
    elif isinstance(server, distributed.Worker):
        open_parcels()
    plain = dask.config.get("proxystore.route", None)
    if plain is not None:
        _move_by(_opened(plain))
        return
    store: Store[Any] = Store.from_url(dask.config.get("proxystore.url"))
    _kept.append(store)
    numbers = {"min-nbytes": 100_000, "lease": 600.0, "grace": 30.0}
    _move_by(Route.by(store, *(dask.config.get(f"proxystore.{n}", v) for n, v in numbers.items())))


def _plain(route: Route) -> str:
    # Configurations are plain data.
    return pickle.dumps(route).hex()


def _opened(plain: str) -> Route:
    route: Route = pickle.loads(bytes.fromhex(plain))
    return route


def _move_by(route: Route) -> None:
    for name in _FAMILIES:
        dumps, loads = _before.setdefault(name, families[name][:2])
        _register(name, _sending(dumps, route, name), functools.partial(_receive, loads))


def _sending(dumps: Callable[..., _Message], route: Route, family: str) -> Callable[..., _Message]:
    takes_context = has_keyword(dumps, "context")

    def send(obj: Any, context: Any = None) -> _Message:
        if family == "pickle" and hasattr(obj, "__dask_graph__"):
            return _with_parcels(obj, route)
        header, frames = dumps(obj, context=context) if takes_context else dumps(obj)
        # Without a context nothing is sent: it is for a disk, and may be read any time later.
        return (header, frames) if context is None else _with_slips(header, frames, route)

    return send


def _with_slips(header: dict[str, Any], frames: Sequence[BytesLike], route: Route) -> _Message:
    sent = route.sent(frames)
    keys = {place: each.key for place, each in enumerate(sent) if isinstance(each, Slip)}
    if keys:
        header = {**header, _HEADER: pickle.dumps((route, keys))}
    return header, [b"" if isinstance(each, Slip) else each for each in sent]


def _with_parcels(graph: Any, route: Route) -> _Message:
    buffers: list[pickle.PickleBuffer] = []
    file = io.BytesIO()
    ParcelPickler(file, route, protocol=5, buffer_callback=buffers.append).dump(graph)
    views = [buffer.raw() for buffer in buffers]
    header = {"serializer": "pickle", "writeable": tuple(not view.readonly for view in views)}
    return header, [file.getvalue(), *views]


def _receive(loads: Callable[..., Any], header: dict[str, Any], frames: Sequence[BytesLike]) -> Any:
    if _HEADER in header:
        route, keys = pickle.loads(header[_HEADER])
        slips = [Slip(keys[n]) if n in keys else frame for n, frame in enumerate(frames)]
        frames = route.received(slips)
    return loads(header, frames)
