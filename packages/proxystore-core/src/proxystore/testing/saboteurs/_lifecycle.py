"""Saboteurs of claims, configs, closing, owning and processes."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from typing import Any, Self

from proxystore.abc import Capability
from proxystore.errors import ClosedError, NotOwnerError
from proxystore.payload import Payload, as_bytes
from proxystore.testing.saboteurs._base import Saboteur

# Any throughout: saboteurs answer what the types forbid.
_OTHER_PROCESSES = frozenset({Capability.CROSS_PROCESS, Capability.DEFERRABLE})


class ClaimsTooMuch(Saboteur):
    """A reported capability is claimed, and there."""

    caught_by = "test_capabilities_are_exactly_those_claimed"

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset(Capability)


class ClaimsTooLittle(Saboteur):
    """A capability that is there is reported."""

    caught_by = "test_capabilities_are_exactly_those_claimed"
    needs = frozenset({Capability.DEFERRABLE})

    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities - {Capability.DEFERRABLE}


class ClaimsChange(Saboteur):
    """Capabilities are fixed for the life of a connector."""

    caught_by = "test_capabilities_stay_the_same"

    def put(self, payload: Payload, **options: Any) -> Any:
        self.notes["used"] = True
        return super().put(payload, **options)

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset() if self.notes else super().capabilities


class MediumUnstated(Saboteur):
    """A connector says where its bytes live."""

    caught_by = "test_medium_and_acknowledgement_are_stated"

    @property
    def medium(self) -> Any:
        return "somewhere"


class CoroutineUnderSyncName(Saboteur):
    """Coroutines have names of their own."""

    caught_by = "test_no_method_under_a_sync_name_gives_a_coroutine"

    def exists(self, key: Any) -> Any:
        return _Awaitable()


class _Awaitable:
    # An object and not a coroutine, which would warn that nobody awaited it.
    def __await__(self) -> Any:
        yield


class ConfigNotPlain(Saboteur):
    """A config has plain values only."""

    caught_by = "test_config_is_plain_and_survives_json"

    def config(self) -> Any:
        return {**super().config(), "connector": self}


class ConfigNotRebuildable(Saboteur):
    """from_config takes what config gives."""

    caught_by = "test_a_rebuilt_connector_has_the_same_objects"

    def config(self) -> Any:
        return {**super().config(), "an_option_that_from_config_does_not_know": 1}


class ConfigForgets(Saboteur):
    """A rebuilt connector gives the config it was rebuilt from."""

    caught_by = "test_a_rebuilt_connector_has_an_equal_config"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        rebuilt = super().from_config(config)
        rebuilt.notes["rebuilt"] = True
        return rebuilt

    def config(self) -> Any:
        return {} if "rebuilt" in self.notes else super().config()


class SecondCloseRaises(Saboteur):
    """close is idempotent."""

    caught_by = "test_closing_twice_is_not_an_error"

    def close(self, *, clear: bool | None = None) -> None:
        if self.notes.setdefault("closed", 0):
            raise ClosedError("the connector")
        super().close(clear=clear)
        self.notes["closed"] = 1


class UsableAfterClose(Saboteur):
    """Use after close raises ClosedError."""

    caught_by = "test_use_after_close_raises_closed_error"

    def close(self, *, clear: bool | None = None) -> None:
        self.notes["closed"] = clear


class Remembering(Saboteur):
    """Base of saboteurs that clear what they have seen."""

    def get(self, key: Any) -> Any:
        self.notes[key] = os.getpid()
        return super().get(key)

    def put(self, payload: Payload, **options: Any) -> Any:
        key = super().put(payload, **options)
        self.notes[key] = os.getpid()
        return key

    def clear_all(self) -> None:
        for key in list(self.notes):
            super().evict(key)


class NonOwnerClears(Remembering):
    """Closing a rebuilt connector clears nothing."""

    caught_by = "test_closing_a_rebuilt_connector_clears_nothing"

    def close(self, *, clear: bool | None = None) -> None:
        if clear is None and self.notes:
            self.clear_all()
            self.notes.clear()
        super().close(clear=clear)


class NonOwnerMayClear(Saboteur):
    """clear=True on a connector that is not the owner is an error."""

    caught_by = "test_a_rebuilt_connector_may_not_clear"

    def close(self, *, clear: bool | None = None) -> None:
        try:
            super().close(clear=clear)
        except NotOwnerError:
            super().close(clear=False)


class AlwaysClears(Remembering):
    """close(clear=False) keeps the objects."""

    caught_by = "test_close_without_clear_keeps_the_objects"

    def close(self, *, clear: bool | None = None) -> None:
        if clear is False:
            self.clear_all()
            self.notes.clear()
        super().close(clear=clear)


class OwnerKeeps(Saboteur):
    """The owner's close clears."""

    caught_by = "test_the_owners_close_clears"

    def close(self, *, clear: bool | None = None) -> None:
        super().close(clear=False if clear is None else clear)


class ForkedChildClears(Remembering):
    """A forked child is not the owner."""

    caught_by = "test_closing_in_a_forked_child_leaves_the_parents_objects"
    needs = frozenset({Capability.CROSS_PROCESS})

    def close(self, *, clear: bool | None = None) -> None:
        if any(pid != os.getpid() for pid in self.notes.values()):
            self.clear_all()
        super().close(clear=clear)


class ForkedChildRepeatsKeys(Saboteur):
    """What makes keys is made anew in a forked child."""

    caught_by = "test_parent_and_forked_child_never_make_equal_keys"
    needs = _OTHER_PROCESSES

    def put(self, payload: Payload, **options: Any) -> Any:
        numbers = self.notes.setdefault("random", random.Random(7))
        key = self.new_key(f"{numbers.getrandbits(64):x}")
        if not self.exists(key):
            self.set(key, payload, **options)
        return key


class LateWrite(Saboteur):
    """When put returns, the object survives what `acknowledges` says."""

    caught_by = "test_what_put_returned_for_survives_kill_9_of_its_writer"
    needs = _OTHER_PROCESSES

    def put(self, payload: Payload, **options: Any) -> Any:
        key = self.new_key()
        self.notes[key] = as_bytes(payload)
        return key

    def get(self, key: Any) -> Any:
        self._flush()
        return super().get(key)

    def close(self, *, clear: bool | None = None) -> None:
        self._flush()
        super().close(clear=clear)

    def _flush(self) -> None:
        while self.notes:
            self.set(*self.notes.popitem())


class SetRacesBetweenProcesses(Saboteur):
    """Of two processes that set one key, one is told that it lost."""

    caught_by = "test_of_processes_that_set_one_key_exactly_one_wins"
    needs = _OTHER_PROCESSES

    def set(self, key: Any, payload: Payload, **options: Any) -> None:
        super().evict(key)
        super().set(key, payload, **options)
