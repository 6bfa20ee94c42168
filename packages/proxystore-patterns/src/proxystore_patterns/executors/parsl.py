"""Parsl with data that goes by store. Needs the extra ``parsl``."""

from __future__ import annotations

import functools
import hashlib
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

from proxystore.payload import BytesLike, as_buffers
from proxystore.proxy import Proxy, extract
from proxystore.serialize import serialize
from proxystore.store import Store
from proxystore_patterns._extras import importing
from proxystore_patterns.executors._frames import Route

with importing("parsl"):
    # It has no types.
    import dill  # type: ignore[import-untyped]
    from parsl.dataflow.memoization import id_for_memo
    from parsl.serialize import facade
    from parsl.serialize.base import SerializerBase

__all__ = ["StoreSerializer", "memoize_by_content", "stop_using_store", "use_store"]


# Any in this module: arguments and results of every type, stores with whatever connectors.
def use_store(
    store: Store[Any],
    *,
    min_nbytes: int = 100_000,
    lease: float = 86_400.0,
    grace: float = 60.0,
) -> None:
    """Let Parsl move what is large by ``store``: arguments and results of all apps.

    Apps get the objects, not proxies, and need no change. For executors that serialize by
    Parsl, such as ``HighThroughputExecutor``, whose workers need this package and no
    setting: each message says how it was made. Called again, it takes another store.

    Args:
        store: Its connector must reach all workers, and have times to live. Open as long as
            tasks are running; this does not close it.
        min_nbytes: What goes by store: buffers of arrays and the like, and other pickles, of
            this size or more.
        lease: Seconds after which the medium removes what no worker has read: longer than
            tasks wait in queues.
        grace: Seconds for which it keeps what was read.

    Raises:
        CapabilityError: The connector has no times to live, or reaches one process only.
        ValueError: A number that cannot be.
    """
    serializer = StoreSerializer(Route.by(store, min_nbytes, lease, grace))
    StoreSerializer.follows = False
    _register(serializer)


def stop_using_store() -> None:
    """Let Parsl serialize here as it did before. What was sent can still be received."""
    facade.methods_for_data.pop(StoreSerializer().identifier, None)


def _register(serializer: StoreSerializer) -> None:
    # Parsl takes the first that does not fail.
    others = dict(facade.methods_for_data)
    facade.methods_for_data.clear()
    facade.register_method_for_data(serializer)
    for each in others.values():
        if each.identifier != serializer.identifier:
            facade.register_method_for_data(each)


class StoreSerializer(SerializerBase):
    """Parsl's plugin, which `use_store` registers.

    Args:
        route: How to send. Without one it can only receive.
    """

    follows: ClassVar[bool] = True
    """Whether this process sends as it was sent to: workers do, who submits says how."""

    def __init__(self, route: Route | None = None) -> None:
        self._route = route

    def serialize(self, data: Any) -> bytes:
        """A message with slips in place of what is large.

        Raises:
            TypeError: It was made without a route.
            MediumFullError: The store has no room.
        """
        if self._route is None:
            raise TypeError("A StoreSerializer sends by a store: call use_store() first.")
        by_dill, frames = _dumps(data)
        # Frames that stay are small: copied, for pickles of views need protocol 5 and more.
        sent = [bytes(f) if isinstance(f, memoryview) else f for f in self._route.sent(frames)]
        return pickle.dumps((self._route, by_dill, sent))

    def deserialize(self, payload: bytes) -> Any:
        """What was sent. What a worker sends from now on goes the same way.

        Raises:
            ObjectNotFoundError: It came too late: its lease ended.
        """
        route, by_dill, sent = pickle.loads(payload)
        if self.follows and route != self._route:
            self._route = route
            _register(self)
        head, *buffers = route.received(sent)
        loads = dill.loads if by_dill else pickle.loads
        return loads(head, buffers=[bytearray(b) if type(b) is bytes else b for b in buffers])


def _dumps(data: Any) -> tuple[bool, list[BytesLike]]:
    """Frames, the first one a pickle; and whether dill made it."""
    buffers: list[pickle.PickleBuffer] = []
    by_dill = False
    try:
        head = pickle.dumps(data, protocol=5, buffer_callback=buffers.append)
    except (pickle.PicklingError, AttributeError, TypeError):
        by_dill = True
    # By name, but workers have another main module.
    if by_dill or b"__main__" in head:
        by_dill = True
        buffers.clear()
        head = dill.dumps(data, protocol=5, buffer_callback=buffers.append)
    return by_dill, [head, *(buffer.raw() for buffer in buffers)]


def memoize_by_content() -> None:
    """Let Parsl's memoization tell arguments by what they hold: proxies, and whatever is stored.

    A proxy counts as its object, which is resolved here. Of types that Parsl does not know,
    equal bytes count as equal; what cannot be serialized raises, as it did.
    """
    for kind, known in list(id_for_memo.registry.items()):
        if not getattr(known, "sees_proxies", False):
            id_for_memo.register(kind, _by_content if kind is object else _seeing(known))


def _seeing(known: Callable[..., bytes]) -> Callable[..., bytes]:
    # By class, and a proxy says that it has that of its object.
    @functools.wraps(known)
    def identify(obj: Any, output_ref: bool = False) -> bytes:  # noqa: FBT001, FBT002 - Parsl's
        return known(extract(obj) if isinstance(obj, Proxy) else obj, output_ref)

    identify.sees_proxies = True  # type: ignore[attr-defined]
    return identify


def _by_content(obj: Any, output_ref: bool = False) -> bytes:  # noqa: FBT001, FBT002 - Parsl's
    if isinstance(obj, Proxy):
        return id_for_memo(extract(obj), output_ref)
    digest = hashlib.blake2b(f"{type(obj).__module__}.{type(obj).__qualname__}".encode())
    for buffer in as_buffers(serialize(obj)):
        digest.update(buffer)
    return digest.digest()


_by_content.sees_proxies = True  # type: ignore[attr-defined]
