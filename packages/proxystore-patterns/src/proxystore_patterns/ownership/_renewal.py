"""Keeps leases from ending while this process lives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from proxystore.errors import ConnectorUnavailableError, MediumGoneError, ProxyStoreError
from proxystore.host.forks import remake_in_child

__all__ = ["Lease"]

_LONGEST_WAIT_S = 3600.0


class Lease:
    """Renewed in the background until `end`, at a third of its time.

    It never keeps the interpreter from exiting, and is not renewed in a forked child.

    Args:
        seconds: What ``renew`` asks for.
        renew: Called from a thread of this module; `False` if there is nothing to renew.
        lost: Called from that thread, once, if there is not.
    """

    def __init__(
        self, seconds: float, renew: Callable[[], bool], lost: Callable[[], None] | None = None
    ) -> None:
        self.seconds = seconds
        self._renew, self._lost = renew, lost
        self.due = time.monotonic() + seconds / 3
        _RENEWER.add(self)

    def end(self) -> None:
        """Renew it no more. Takes no lock: a garbage collection may call it at any time."""
        _RENEWER.remove(self)

    def renew(self) -> None:
        """Renew it now; an unreachable medium is asked again later."""
        self.due = time.monotonic() + self.seconds / 3
        try:
            if self._renew():
                return
        except ConnectorUnavailableError as error:
            if not isinstance(error, MediumGoneError):
                return
        except ProxyStoreError:
            # Of a store that was closed: it has nothing to renew.
            pass
        self.end()
        if self._lost is not None:
            self._lost()


class _Renewer:
    def __init__(self) -> None:
        self.remade_in_child()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        self._leases: dict[Lease, None] = {}
        self._added = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, lease: Lease) -> None:
        self._leases[lease] = None
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()
        self._added.set()

    def remove(self, lease: Lease) -> None:
        self._leases.pop(lease, None)

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            for lease in list(self._leases):
                if lease.due <= now:
                    lease.renew()
            soonest = min((lease.due for lease in list(self._leases)), default=None)
            left = None if soonest is None else max(0.0, soonest - time.monotonic())
            # Bounded, for an event can be waited for 292 years at most, and a lease be longer.
            self._added.wait(None if left is None else min(_LONGEST_WAIT_S, left))
            self._added.clear()


_RENEWER = _Renewer()
