"""Saboteurs of objects, buffers, batches and keys."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from proxystore.payload import Buffers, Payload, as_bytes
from proxystore.testing.saboteurs._base import Saboteur

# Any throughout: saboteurs answer what the types forbid.


class AbsentRaises(Saboteur):
    """An absent object is `None`, not an error."""

    caught_by = "test_an_absent_object_is_none_and_no_error"

    def get(self, key: Any) -> Any:
        found = super().get(key)
        if found is None:
            raise KeyError(key)
        return found


class AliasedBuffer(Saboteur):
    """put copies: the caller may reuse its buffer."""

    caught_by = "test_put_copies_the_buffer"

    def put(self, payload: Payload, **options: Any) -> Any:
        key = super().put(payload, **options)
        self.notes[key] = payload
        return key

    def get(self, key: Any) -> Any:
        alias = self.notes.get(key)
        return super().get(key) if alias is None else as_bytes(alias)


class ChangedView(Saboteur):
    """A buffer that get returned survives evict."""

    caught_by = "test_a_buffer_survives_evict"

    def get(self, key: Any) -> Any:
        found = super().get(key)
        if found is None:
            return None
        return self.notes.setdefault(key, bytearray(found))

    def evict(self, key: Any) -> None:
        super().evict(key)
        view = self.notes.pop(key, b"")
        view[:] = bytes(len(view)) if view else view


class ViewEndsWithClose(Saboteur):
    """A buffer that get returned survives close."""

    caught_by = "test_a_buffer_survives_close"

    def get(self, key: Any) -> Any:
        found = super().get(key)
        if found is None:
            return None
        view = memoryview(bytes(found))
        self.notes[len(self.notes)] = view
        return view

    def close(self, *, clear: bool | None = None) -> None:
        for view in self.notes.values():
            view.release()
        super().close(clear=clear)


class SharedView(Saboteur):
    """What one reader writes into its buffer, no other reader sees."""

    caught_by = "test_what_a_reader_writes_nobody_else_sees"

    def get(self, key: Any) -> Any:
        found = super().get(key)
        return None if found is None else self.notes.setdefault(key, bytearray(found))


class FalsyIsMissing(Saboteur):
    """An empty object is an object."""

    caught_by = "test_an_empty_object_is_an_object"

    def get(self, key: Any) -> Any:
        return super().get(key) or None


class ItemsForBytes(Saboteur):
    """The size of a view is its bytes, not its items."""

    caught_by = "test_get_gives_what_was_put_as"

    def put(self, payload: Payload, **options: Any) -> Any:
        if isinstance(payload, memoryview):
            payload = payload.cast("B")[: len(payload)] if payload.ndim == 1 else payload
        return super().put(payload, **options)


class FirstThousandBuffers(Saboteur):
    """All buffers of a payload are stored, also beyond what one system call takes."""

    caught_by = "test_get_gives_what_was_put_as"

    def put(self, payload: Payload, **options: Any) -> Any:
        return super().put(payload[:1024] if isinstance(payload, Buffers) else payload, **options)


class EqualPayloadsShareKey(Saboteur):
    """Two equal payloads get two keys."""

    caught_by = "test_equal_payloads_get_two_keys"

    def put(self, payload: Payload, **options: Any) -> Any:
        data = as_bytes(payload)
        if data not in self.notes:
            self.notes[data] = super().put(payload, **options)
        return self.notes[data]


class SecondEvictRaises(Saboteur):
    """Evicting an absent key does nothing."""

    caught_by = "test_evicting_a_key_twice_is_not_an_error"

    def evict(self, key: Any) -> None:
        if not self.exists(key):
            raise KeyError(key)
        super().evict(key)


class EvictForgets(Saboteur):
    """evict removes the object."""

    caught_by = "test_exists_follows_put_and_evict"

    def evict(self, key: Any) -> None:
        self.get(key)


class HolesDropped(Saboteur):
    """get_batch has an entry for every key, also for absent ones."""

    caught_by = "test_get_batch_keeps_order_holes_and_duplicates"

    def get_batch(self, keys: Sequence[Any]) -> Any:
        return [found for found in super().get_batch(keys) if found is not None]


class DuplicatesMerged(Saboteur):
    """get_batch has an entry for every key, also for one that comes twice."""

    caught_by = "test_get_batch_keeps_order_holes_and_duplicates"

    def get_batch(self, keys: Sequence[Any]) -> Any:
        return super().get_batch(list(dict.fromkeys(keys)))


class UnorderedBatch(Saboteur):
    """put_batch gives keys in the order of the payloads."""

    caught_by = "test_put_batch_gives_the_keys_in_order"

    def put_batch(self, payloads: Sequence[Payload], **options: Any) -> Any:
        return super().put_batch(payloads[::-1], **options)


class UnpicklableKey(Saboteur):
    """Keys pickle."""

    caught_by = "test_a_key_is_equal_after_pickling"

    def put(self, payload: Payload, **options: Any) -> Any:
        key = super().put(payload, **options)
        local = type("LocalToItsFunction", (type(key),), {})
        return local(*key)


class KeyOfTheMoment(Saboteur):
    """A key is all in its fields."""

    caught_by = "test_a_key_is_its_key_type_rebuilt"

    def put(self, payload: Payload, **options: Any) -> Any:
        key = super().put(payload, **options)
        self.notes[id(key)] = key
        return key

    def get(self, key: Any) -> Any:
        return super().get(key) if id(key) in self.notes else None


class EscapingKey(Saboteur):
    """A malformed key reaches no object, as '../x' would in a directory."""

    caught_by = "test_a_malformed_key_reaches_nothing"

    def get(self, key: Any) -> Any:
        if not isinstance(key[0], str) or "/" not in key[0]:
            return super().get(key)
        inside = self.key_type(key[0].strip("/").rpartition("/")[2], *key[1:])
        return super().get(inside)


class MalformedKeyRaisesAnything(Saboteur):
    """A malformed key is absent or an InvalidKeyError, nothing else."""

    caught_by = "test_a_malformed_key_reaches_nothing"

    def exists(self, key: Any) -> bool:
        if len(str(key[0])) > 255:
            raise OSError("File name too long")
        return super().exists(key)


class SharedSlot(Saboteur):
    """One connector serves many threads."""

    caught_by = "test_threads_store_and_read_their_own_objects"

    def put(self, payload: Payload, **options: Any) -> Any:
        self.notes["payload"] = payload
        time.sleep(0.001)
        return super().put(self.notes["payload"], **options)
