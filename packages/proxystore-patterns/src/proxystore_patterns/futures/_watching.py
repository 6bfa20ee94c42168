"""Futures watched for others: one thread for each store, however many futures there are."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias

from proxystore.abc import Key
from proxystore.errors import ConnectorUnavailableError, MediumGoneError, ProxyStoreError
from proxystore.host.forks import remake_in_child
from proxystore.store import Store
from proxystore_patterns.futures._deaths import LOOK_SECONDS, bury
from proxystore_patterns.futures._late import has_ended

__all__ = ["Call", "Watch", "wait_in_loop"]

Call: TypeAlias = Callable[[], None]

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.25
# Looks come after so much of the time since the last news.
_SHARE = 0.1
# So much of all time do looks for results take at most, and those for dead producers.
_LOOKS_DUTY, _DEATHS_DUTY = 0.2, 0.1
_PATIENCE_SECONDS = 10.0


class _Entry(NamedTuple):
    mark: Key | None
    calls: list[Call]
    leave: Call | None
    """Ends being told by the medium; `None` if it does not tell."""


class _Watcher:
    """Makes a call for each future of one store that is done or has ended. Thread safe.

    Calls are made for all that is watched when the medium is gone, or could not be
    reached for ten seconds: who then asks for the result is told why. A forked child
    watches nothing.
    """

    def __init__(self, store: Store[Any]) -> None:
        self.store = store
        self.remade_in_child()
        remake_in_child(self)

    def remade_in_child(self) -> None:
        # Reentrant: a garbage collection may run a finalizer that comes here.
        self._changed = threading.Condition(threading.RLock())
        self._entries: dict[Key, _Entry] = {}
        self._n_untold = 0
        self._told: set[Key] = set()
        """Those to look at next."""
        self._runs = False

    def add(self, key: Key, mark: Key | None, call: Call) -> None:
        """Make ``call`` once the future of ``key`` is done, or the lifetime of ``mark`` is."""
        with self._changed:
            entry = self._entries.get(key)
            if entry is not None:
                entry.calls.append(call)
                return
        # Outside of the lock: it may need a connection, and may tell at once.
        leave = self.store.notify(key, lambda: self._tell(key))
        with self._changed:
            if key not in self._entries:
                self._entries[key] = _Entry(mark, [], leave)
                self._n_untold += leave is None
                leave = None
            self._entries[key].calls.append(call)
            self._tell(key)
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name="proxystore-futures", daemon=True).start()
        if leave is not None:
            # Another thread came first.
            leave()

    def remove(self, key: Key, call: Call) -> None:
        """Do not make ``call``, unless it has begun."""
        with self._changed:
            entry = self._entries.get(key)
            if entry is None or call not in entry.calls:
                return
            entry.calls.remove(call)
            if entry.calls:
                return
            self._forget(key)
            self._changed.notify()
        if entry.leave is not None:
            entry.leave()

    def _tell(self, key: Key) -> None:
        with self._changed:
            self._told.add(key)
            self._changed.notify()

    # --- The thread -------------------------------------------------------------

    def _run(self) -> None:
        looks = _Pace(_SHORTEST_PAUSE, _LONGEST_PAUSE, _LOOKS_DUTY)
        deaths = _Pace(LOOK_SECONDS, LOOK_SECONDS, _DEATHS_DUTY)
        lost_at: float | None = None
        while self._await_news(looks, deaths):
            keys, pace = self._next(looks, deaths)
            begun = time.monotonic()
            try:
                done = [key for key in keys if self.store.exists(key)]
                if pace is deaths:
                    done += self._ended(set(keys).difference(done), keys)
                lost_at = None
            except ConnectorUnavailableError as error:
                lost_at = begun if lost_at is None else lost_at
                is_final = isinstance(error, MediumGoneError)
                done = list(keys) if is_final or begun - lost_at > _PATIENCE_SECONDS else []
            except ProxyStoreError:
                # Closed, or not to be read: nothing will come of waiting.
                done = list(keys)
            if pace is not None:
                pace.ended(begun, has_news=bool(done))
            self._finish(done)

    def _await_news(self, looks: _Pace, deaths: _Pace) -> bool:
        """Wait until there is something to look at; `False` if the thread is to end."""
        with self._changed:
            while self._entries and not self._told:
                due = min(looks.next_at, deaths.next_at) if self._n_untold else deaths.next_at
                left = due - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            self._runs = bool(self._entries)
            return self._runs

    def _ended(self, keys: Iterable[Key], marks: dict[Key, Key | None]) -> list[Key]:
        """Those without an outcome that get none; where a producer died they get one now."""
        ended = []
        for key in keys:
            if has_ended(self.store, marks[key]):
                ended.append(key)
            else:
                bury(self.store, key, marks[key])
        return ended

    def _next(self, looks: _Pace, deaths: _Pace) -> tuple[dict[Key, Key | None], _Pace | None]:
        """What to look at, with the marks, and the pace that has it so, if it is everything."""
        with self._changed:
            told, self._told = self._told, set()
            if told:
                looks.hurry()
            now = time.monotonic()
            is_look = self._n_untold and now >= looks.next_at
            pace = deaths if now >= deaths.next_at else looks if is_look else None
            keys = told.intersection(self._entries) if pace is None else self._entries
            return {key: self._entries[key].mark for key in keys}, pace

    def _finish(self, keys: Iterable[Key]) -> None:
        for key in keys:
            with self._changed:
                entry = self._forget(key)
            if entry is None:
                continue
            if entry.leave is not None:
                entry.leave()
            for call in entry.calls:
                call()

    def _forget(self, key: Key) -> _Entry | None:
        entry = self._entries.pop(key, None)
        if entry is not None and entry.leave is None:
            self._n_untold -= 1
        return entry


class _Pace:
    """When to look at everything: as often as there may be news, and no more than is cheap."""

    def __init__(self, shortest: float, longest: float, duty: float) -> None:
        self._shortest, self._longest, self._duty = shortest, longest, duty
        self._rested_at = 0.0
        self.hurry()

    def hurry(self) -> None:
        """Something came, so more may come."""
        self._news_at = time.monotonic()
        self.next_at = max(self._news_at + self._shortest, self._rested_at)

    def ended(self, begun: float, *, has_news: bool) -> None:
        """A look ended that was ``begun`` then."""
        now = time.monotonic()
        if has_news:
            self._news_at = now
        self._rested_at = now + (now - begun) / self._duty
        pause = min(max(self._shortest, (now - self._news_at) * _SHARE), self._longest)
        # At random, so that those who wait do not all ask at once.
        pause *= 0.5 + os.urandom(1)[0] / 510
        self.next_at = max(now + pause, self._rested_at)


# By id of the store, which its watcher keeps alive.
_watchers: weakref.WeakValueDictionary[int, _Watcher] = weakref.WeakValueDictionary()


class Watch:
    """A call that is to be made.

    Args:
        store: Of the future.
        key: Of the future.
        mark: Of its lifetime, if it has one.
        call: Made once, in a thread that others share, when the future is done, its
            lifetime has ended or its store is lost.
    """

    def __init__(self, store: Store[Any], key: Key, mark: Key | None, call: Call) -> None:
        # No lock, which a fork could leave held: of two threads that come at once each may
        # get a watcher of its own, and both do their work.
        watcher = _watchers.get(id(store)) or _watchers.setdefault(id(store), _Watcher(store))
        self._watcher, self._key, self._call = watcher, key, call
        watcher.add(key, mark, call)

    def cancel(self) -> None:
        """Do not make the call, unless it has begun. Idempotent."""
        self._watcher.remove(self._key, self._call)


async def wait_in_loop(store: Store[Any], key: Key, mark: Key | None) -> None:
    """Wait for a future without holding up the event loop."""
    import asyncio

    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def on_done() -> None:
        # A loop that was closed meanwhile waits for nothing.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(done.set)

    # Telling the medium may take a request, for which an event loop must not wait.
    watch = await asyncio.to_thread(Watch, store, key, mark, on_done)
    try:
        await done.wait()
    finally:
        watch.cancel()
