"""Saboteurs of the optional capabilities."""

from __future__ import annotations

import time
from typing import Any

from proxystore.abc import Capability
from proxystore.errors import InvalidKeyError, KeyAlreadySetError, KeyNotSetError
from proxystore.payload import Payload
from proxystore.testing.saboteurs._base import Saboteur

# Any throughout: saboteurs answer what the types forbid.
_DEFERRABLE = frozenset({Capability.DEFERRABLE})
_REPLACEABLE = frozenset({Capability.REPLACEABLE})
_WAITABLE = frozenset({Capability.WAITABLE})
_LEASABLE = frozenset({Capability.LEASABLE})
_RANGED = frozenset({Capability.RANGED})
_ASYNC = frozenset({Capability.ASYNC})


class SetOverwrites(Saboteur):
    """A key is set once."""

    caught_by = "test_a_key_is_set_once"
    needs = _DEFERRABLE

    def set(self, key: Any, payload: Payload, **options: Any) -> None:
        super().evict(key)
        super().set(key, payload, **options)


class SetRace(Saboteur):
    """set decides atomically who was first."""

    caught_by = "test_of_threads_that_set_one_key_exactly_one_wins"
    needs = _DEFERRABLE

    def set(self, key: Any, payload: Payload, **options: Any) -> None:
        if self.exists(key):
            raise KeyAlreadySetError(repr(key))
        time.sleep(0.02)
        try:
            super().set(key, payload, **options)
        except KeyAlreadySetError:
            return


class NewKeyIgnoresId(Saboteur):
    """One object id gives one key."""

    caught_by = "test_an_object_id_gives_one_key"
    needs = _DEFERRABLE

    def new_key(self, object_id: str | None = None) -> Any:
        super().new_key(object_id)
        return super().new_key()


class NewKeyTakesAnything(Saboteur):
    """A malformed object id is refused."""

    caught_by = "test_a_malformed_object_id_is_refused"
    needs = _DEFERRABLE

    def new_key(self, object_id: str | None = None) -> Any:
        try:
            return super().new_key(object_id)
        except InvalidKeyError:
            return super().new_key()


class ReplaceChangesOldViews(Saboteur):
    """Buffers of older generations stay as they are."""

    caught_by = "test_a_buffer_survives_replace"
    needs = _REPLACEABLE

    def get(self, key: Any) -> Any:
        found = super().get(key)
        return None if found is None else self.notes.setdefault(key, bytearray(found))

    def replace(self, key: Any, payload: Payload) -> None:
        super().replace(key, payload)
        if key in self.notes:
            self.notes[key][:] = super().get(key) or b""


class ReplaceCreates(Saboteur):
    """Only what is there can be replaced."""

    caught_by = "test_an_absent_object_cannot_be_replaced"
    needs = _REPLACEABLE | _DEFERRABLE

    def replace(self, key: Any, payload: Payload) -> None:
        try:
            super().replace(key, payload)
        except KeyNotSetError:
            self.set(key, payload)


class ReplaceInTwoSteps(Saboteur):
    """A reader sees the old generation or the new one, and never none."""

    caught_by = "test_a_reader_sees_whole_generations_only"
    needs = _REPLACEABLE | _DEFERRABLE

    def replace(self, key: Any, payload: Payload) -> None:
        super().evict(key)
        time.sleep(0.002)
        self.set(key, payload)


class GenerationStuck(Saboteur):
    """The generation differs after each replace."""

    caught_by = "test_the_generation_differs_after_each_replace"
    needs = _REPLACEABLE

    def generation(self, key: Any) -> int | None:
        return None if super().generation(key) is None else 1


class GenerationDrifts(Saboteur):
    """The generation stays while the object does."""

    caught_by = "test_the_generation_stays_while_the_object_does"
    needs = _REPLACEABLE

    def generation(self, key: Any) -> int | None:
        return None if super().generation(key) is None else time.monotonic_ns()


class WaitIgnoresTimeout(Saboteur):
    """A wait ends at its timeout."""

    caught_by = "test_wait_ends_false_at_its_timeout"
    needs = _WAITABLE

    def wait(self, key: Any, timeout: float | None = None) -> bool:
        return super().wait(key, 5.0)


class WaitGuesses(Saboteur):
    """A wait says True only if there is an object."""

    caught_by = "test_wait_ends_false_at_its_timeout"
    needs = _WAITABLE

    def wait(self, key: Any, timeout: float | None = None) -> bool:
        super().wait(key, timeout)
        return True


class WaitLooksOnce(Saboteur):
    """A wait ends when the object appears."""

    caught_by = "test_wait_ends_true_when_the_object_appears"
    needs = _WAITABLE | _DEFERRABLE

    def wait(self, key: Any, timeout: float | None = None) -> bool:
        return self.exists(key)


class NotifiesNobody(Saboteur):
    """A notifier calls when the object appears."""

    caught_by = "test_a_notifier_calls_for_each_key_that_is_set"
    needs = _WAITABLE | _DEFERRABLE

    def notify(self, key: Any, call: Any) -> Any:
        return lambda: None


class TtlIgnored(Saboteur):
    """An object is absent after its time to live."""

    caught_by = "test_an_object_is_absent_after_its_ttl"
    needs = _LEASABLE

    def put(self, payload: Payload, **options: Any) -> Any:
        return super().put(payload)


class TtlOfSetIgnored(Saboteur):
    """Set takes a time to live too."""

    caught_by = "test_set_takes_a_ttl"
    needs = _LEASABLE | _DEFERRABLE

    def set(self, key: Any, payload: Payload, **options: Any) -> None:
        super().set(key, payload)


class TouchDoesNothing(Saboteur):
    """Touch gives the object another life."""

    caught_by = "test_touch_lengthens_a_life"
    needs = _LEASABLE

    def touch(self, key: Any, ttl: float | None) -> bool:
        return self.exists(key)


class TouchRevivesNothingSilently(Saboteur):
    """Touch says whether there was an object."""

    caught_by = "test_touch_of_an_absent_object_is_false"
    needs = _LEASABLE

    def touch(self, key: Any, ttl: float | None) -> bool:
        super().touch(key, ttl)
        return True


class RangeOffByOne(Saboteur):
    """A range has its length."""

    caught_by = "test_a_range_is_a_slice"
    needs = _RANGED

    def get_range(self, key: Any, offset: int, length: int) -> Any:
        return super().get_range(key, offset, length + 1 if length >= 0 else length)


class RangeFromTheEnd(Saboteur):
    """A negative offset is an error."""

    caught_by = "test_a_negative_range_is_refused"
    needs = _RANGED

    def get_range(self, key: Any, offset: int, length: int) -> Any:
        return super().get_range(key, max(offset, 0), max(length, 0))


class TwinIsSync(Saboteur):
    """The async twins are coroutine functions."""

    caught_by = "test_the_twins_are_coroutine_functions"
    needs = _ASYNC

    def aget(self, key: Any) -> Any:
        return super().aget(key)


class TwinForgets(Saboteur):
    """The async twins do what their sync names do."""

    caught_by = "test_the_twins_do_what_their_sync_names_do"
    needs = _ASYNC

    async def aevict(self, key: Any) -> None:
        await super().aget(key)
