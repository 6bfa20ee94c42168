"""Every error that `proxystore` raises on purpose.

All derive from `ProxyStoreError` and from the built-in type that a caller
would catch anyway. Each takes facts, builds its own message from them, and
survives pickling, for errors cross processes with the tasks that raise them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = [
    "CapabilityError",
    "ClosedError",
    "ConfigError",
    "ConnectorNotInstalledError",
    "ConnectorUnavailableError",
    "CorruptObjectError",
    "ForbiddenSerializerError",
    "InvalidKeyError",
    "KeyAlreadySetError",
    "KeyNotSetError",
    "MediumFullError",
    "MediumGoneError",
    "MultiConnectorError",
    "NonProxiableTypeError",
    "NotOwnerError",
    "ObjectNotFoundError",
    "ObjectOnOtherHostError",
    "OverwrittenPackageError",
    "ProxyReentryError",
    "ProxyResolveError",
    "ProxyStoreError",
    "ProxyStoreFactoryError",
    "SecretNotFoundError",
    "SerializationError",
    "StoreClosedError",
    "StoreError",
    "StoreExistsError",
    "StoreNotRegisteredError",
    "UnknownSerializerError",
    "UnsafeDirectoryError",
    "UnsafeSecretError",
    "UnsupportedVersionError",
    "did_you_mean",
    "install_advice",
    "nearest_name",
]


def did_you_mean(asked: str, known: Iterable[str]) -> str:
    """A sentence naming the nearest of ``known``, or an empty string."""
    nearest = nearest_name(asked, known)
    return f" Did you mean {nearest!r}?" if nearest else ""


def nearest_name(asked: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that ``asked`` was probably meant to be, if any is like it."""
    # Imported here: only mistakes need it, and it takes 1.5 ms.
    import difflib

    return next(iter(difflib.get_close_matches(asked, list(known), n=1, cutoff=0.5)), None)


def install_advice(distribution: str, *, again: bool = False) -> str:
    """How to install a distribution of this family: the end of a message.

    By name alone, pip would look on the public index, which has none of them yet, and other
    projects under some of their names.

    Args:
        distribution: Its name, which its folder in the repository has too.
        again: Whether something else may have overwritten it.
    """
    what, how = (" again", "--force-reinstall ") if again else ("", "")
    return (
        f"Install {distribution}{what}, from its wheel, or in a clone of the repository: "
        f"pip install {how}./packages/{distribution}"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


class ProxyStoreError(Exception):
    """Root of all errors of the distributions in this family.

    Pickles as it is, with its attributes and notes, whatever its constructor takes: that
    is not called again.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _as_it_was, (type(self), self.args), vars(self)


# Any: arguments of exceptions, and built-in types as they are found.
def _as_it_was(kind: type[ProxyStoreError], args: tuple[Any, ...]) -> ProxyStoreError:
    built_in: Any = kind
    # Not kind.__new__: of several built-in bases, that may be one of another layout.
    while built_in.__module__ != "builtins":
        built_in = built_in.__base__
    error: ProxyStoreError = built_in.__new__(kind)
    error.args = args
    return error


# --- Media and connectors ---------------------------------------------------


class ConnectorUnavailableError(ProxyStoreError, ConnectionError):
    """The medium of a connector cannot be reached, or did not answer in time.

    Args:
        where: The medium, as a user would recognise it (directory, host:port).
        found: What happened, a clause without a full stop.
        advice: What to do next, a full sentence.
    """

    def __init__(self, where: str, found: str, advice: str) -> None:
        self.where, self.found, self.advice = where, found, advice
        super().__init__(f"Cannot use {where}: {found}. {advice}")


class MediumGoneError(ConnectorUnavailableError):
    """The medium is not there: it never was, or it went, and its objects with it."""


class MediumFullError(ProxyStoreError, OSError):
    """There was no room for an object; nothing was stored."""

    def __init__(self, where: str, nbytes: int, advice: str) -> None:
        self.where, self.nbytes, self.advice = where, nbytes, advice
        super().__init__(f"No room for an object of {nbytes} bytes in {where}. {advice}")


class ObjectOnOtherHostError(ProxyStoreError, LookupError):
    """An object lives in a medium of another host, which this one cannot see."""

    def __init__(self, medium: str, owner_host: str, this_host: str) -> None:
        self.medium, self.owner_host, self.this_host = medium, owner_host, this_host
        super().__init__(
            f"The object lives in {medium} of host {owner_host!r}, which host {this_host!r} "
            f"cannot see. Use a store that both hosts reach: redis, an endpoint, or a "
            f"FileConnector on a shared directory."
        )


class UnsafeDirectoryError(ProxyStoreError, PermissionError):
    """A directory that should be private belongs to someone else or is a link."""

    def __init__(self, path: str, found: str) -> None:
        self.path, self.found = path, found
        super().__init__(
            f"Refused to keep objects in {path}: {found}. Remove it, or name another directory."
        )


class SecretNotFoundError(ProxyStoreError, LookupError):
    """A reference to a secret leads nowhere on this host."""

    def __init__(self, reference: str, found: str, needed_by: str, host: str) -> None:
        self.reference, self.found = reference, found
        self.needed_by, self.host = needed_by, host
        super().__init__(
            f"No secret at {reference!r} on host {host}, which {needed_by} needs: {found}. "
            f"Put the secret there on each host that uses it, or give another reference."
        )


class UnsafeSecretError(ProxyStoreError, PermissionError):
    """A file with a secret could be read or replaced by others."""

    def __init__(self, path: str, found: str) -> None:
        self.path, self.found = path, found
        super().__init__(
            f"Refused to use the secret in {path}: {found}. Make a new secret, for this one "
            f"may be known, in a file of your own with mode 600."
        )


class NotOwnerError(ProxyStoreError, PermissionError):
    """Somebody other than the owner asked to clear a medium."""

    def __init__(self, where: str) -> None:
        self.where = where
        super().__init__(
            f"Only the owner of {where} may clear it, and this connector is not its owner. "
            f"Clear it where it was made, or open it with adopt=True if its owner is gone."
        )


class InvalidKeyError(ProxyStoreError, ValueError):
    """A key could not have come from this connector, and was not used."""

    def __init__(self, key: str, expected: str) -> None:
        self.key, self.expected = key, expected
        super().__init__(f"{key} is not a key of this connector: expected {expected}.")


class KeyAlreadySetError(ProxyStoreError, ValueError):
    """A key that can be set once was set again; the first object stands."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"{key} already has an object, and objects are immutable. Make a new key "
            f"with new_key(), or exchange the object with replace()."
        )


class KeyNotSetError(ProxyStoreError, KeyError):
    """A key has no object that could be replaced."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"{key} has no object to replace. Create it with set() first.")

    __str__ = Exception.__str__  # KeyError would show the message in quotes.


class CapabilityError(ProxyStoreError, TypeError):
    """A store was asked for something that its connector cannot do."""

    def __init__(self, asked: str, connector: str, capability: str) -> None:
        self.asked, self.connector, self.capability = asked, connector, capability
        super().__init__(
            f"{asked} needs a connector that is {capability}, and {connector} is not. "
            f"The table of connectors in the documentation says which are."
        )


class MultiConnectorError(ConnectorUnavailableError, LookupError):
    """No tier of a MultiConnector could serve a request.

    Args:
        asked: The request, such as ``"put of 12 bytes with tags ['gpu']"``.
        tiers: What each tier said, as ``(name, reason)``.
    """

    def __init__(self, asked: str, tiers: Sequence[tuple[str, str]]) -> None:
        self.asked, self.tiers = asked, tuple(tiers)
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.tiers) or "no tiers"
        super().__init__(
            f"any tier for the {asked}",
            reasons.removesuffix("."),
            "Add a tier whose policy admits it, or bring back the one that failed.",
        )


class ConnectorNotInstalledError(ProxyStoreError, ImportError):
    """A connector of this family was asked for and its package is not installed."""

    def __init__(self, asked: str, distribution: str, installed: tuple[str, ...] = ()) -> None:
        self.asked, self.distribution, self.installed = asked, distribution, installed
        super().__init__(
            f"{asked} is in a package of its own that is not installed "
            f"(installed connectors: {_listed(installed)}). {install_advice(distribution)}"
        )


class OverwrittenPackageError(ProxyStoreError, ImportError):
    """The older ``proxystore`` distribution has replaced or removed part of this package.

    Args:
        found: The file that is there in place of ours, `None` if there is none.
    """

    def __init__(self, found: str | None) -> None:
        self.found = found
        state = f"{found} is not its own" if found else "its __init__.py is gone"
        super().__init__(
            f"The package 'proxystore' is a mixture of two distributions: {state}, because "
            f"'proxystore' was installed over proxystore-core, or uninstalled after it. Run: "
            f"pip uninstall proxystore. {install_advice('proxystore-core', again=True)}"
        )


# --- Closing ------------------------------------------------------------------


class ClosedError(ProxyStoreError, ValueError):
    """Something was used after it was closed."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} is closed. Open a new one to go on.")


# --- Serialization -----------------------------------------------------------


class SerializationError(ProxyStoreError, ValueError):
    """An object could not be turned into bytes, or bytes into an object."""


class CorruptObjectError(SerializationError):
    """Stored bytes are truncated, changed, or not an object of ours."""

    def __init__(
        self,
        found: str,
        advice: str = "Store the object again; this copy cannot be repaired.",
    ) -> None:
        self.found, self.advice = found, advice
        super().__init__(f"The stored object is damaged: {found}. {advice}")


class UnsupportedVersionError(SerializationError):
    """An object was written by a newer format than this version reads."""

    def __init__(self, found: int, supported: int) -> None:
        self.found, self.supported = found, supported
        super().__init__(
            f"The object is in format version {found}; this version of proxystore-core reads "
            f"up to {supported}. Upgrade proxystore-core here, or write with the older version."
        )


class UnknownSerializerError(SerializationError):
    """An object names a serializer that this process does not have."""

    def __init__(self, identifier: str, known: tuple[str, ...] = ()) -> None:
        self.identifier, self.known = identifier, known
        super().__init__(
            f"The object was written by serializer {identifier!r}, which this process does not "
            f"have (it has: {_listed(known)}).{did_you_mean(identifier, known)} Install the "
            f"package that provides it, or call register_serializer()."
        )


class ForbiddenSerializerError(SerializationError, PermissionError):
    """An object needs a serializer that the caller did not allow."""

    def __init__(self, identifier: str, allowed: tuple[str, ...]) -> None:
        self.identifier, self.allowed = identifier, allowed
        super().__init__(
            f"Serializer {identifier!r} is not allowed here (allowed: {_listed(allowed)}). "
            f"Add it to allow= if whoever wrote the object is trusted."
        )


# --- Proxies -------------------------------------------------------------------


class ProxyResolveError(ProxyStoreError):
    """The factory of a proxy raised; `cause` is what it raised.

    A factory that raises a subclass of this error lets it reach the user of the proxy as it is.
    """

    def __init__(self, message: str, cause: BaseException | None = None) -> None:
        self.message, self.cause = message, cause
        super().__init__(message)


class ProxyReentryError(ProxyResolveError):
    """The factory of a proxy used that same proxy, which can never end."""


class ObjectNotFoundError(ProxyStoreError, LookupError):
    """A proxy refers to an object that is not, or no longer, in its store."""

    def __init__(
        self, key: str, connector: str, store_name: str, *, evicting: bool = False
    ) -> None:
        self.key, self.connector = key, connector
        self.store_name, self.evicting = store_name, evicting
        why = (
            "It was made with evict=True, so its first use elsewhere removed the object"
            if evicting
            else "It was evicted, its lifetime ended, or the owner of the store closed it"
        )
        super().__init__(
            f"No object under {key} in store {store_name!r} ({connector}). {why}. Keep the "
            f"store open, and the object in it, until every proxy of it has been used."
        )

    @property
    def store_type(self) -> str:
        """The connector, under the name that programs of the older system know."""
        return self.connector


# --- Stores ------------------------------------------------------------------


class StoreError(ProxyStoreError):
    """Base of the errors about stores themselves."""


class StoreClosedError(StoreError, ClosedError):
    """A store was used after `Store.close`."""


class StoreExistsError(StoreError, ValueError):
    """A different store is registered under the same name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"A store named {name!r} is registered already. Use get_store({name!r}), "
            f"unregister it first, or register with exist_ok=True to take its place."
        )


class StoreNotRegisteredError(StoreError, LookupError):
    """No store, or more than one, answers to a name in this process."""

    def __init__(self, name: str, known: tuple[str, ...] = (), matches: int = 0) -> None:
        self.name, self.known, self.matches = name, known, matches
        if matches > 1:
            message = (
                f"{matches} different stores are named {name!r} in this process. Give them "
                f"different names, or get one by a proxy that came from it."
            )
        else:
            message = (
                f"No store named {name!r} is registered in this process (registered: "
                f"{_listed(known)}).{did_you_mean(name, known)} Open it with Store.from_url() "
                f"or Store.from_config(), and register_store() it."
            )
        super().__init__(message)


class ProxyStoreFactoryError(StoreError, TypeError):
    """Something that only a proxy of a store has was asked of another proxy."""

    def __init__(self, asked: str, factory: str) -> None:
        self.asked, self.factory = asked, factory
        super().__init__(
            f"{asked} needs a proxy that came from a Store; the factory of this one is {factory}."
        )


class NonProxiableTypeError(StoreError, TypeError):
    """`None` and `bool` cannot be proxied: ``is`` and truth tests would lie."""

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name
        super().__init__(
            f"An object of type {type_name} cannot be proxied, because code tests it with "
            f"'is', which no proxy can answer. Pass it as it is, or use skip_nonproxiable=True."
        )


class ConfigError(ProxyStoreError, ValueError):
    """A configuration or URL names something that does not exist or fit.

    Args:
        asked: What was given, such as ``"option 'stor_dir' of connector 'file'"``.
        found: What is wrong with it, a clause.
        nearest: The known name most like it, if any.
        known: The names that would have been right.
    """

    def __init__(
        self, asked: str, found: str, nearest: str | None = None, known: tuple[str, ...] = ()
    ) -> None:
        self.asked, self.found, self.nearest, self.known = asked, found, nearest, known
        hint = f" Did you mean {nearest!r}?" if nearest else ""
        choices = f" Known: {_listed(known)}." if known else ""
        super().__init__(f"Cannot use {asked}: {found}.{hint}{choices}")
