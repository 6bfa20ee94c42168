"""`serialize` and `deserialize`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, TypeGuard

from proxystore.errors import ForbiddenSerializerError, SerializationError
from proxystore.payload import Buffers, BytesLike, Payload, flat_view
from proxystore.serialize._builtin import CLOUDPICKLE, PICKLE
from proxystore.serialize._contract import Dumped
from proxystore.serialize._format import (
    MAGIC,
    Scattered,
    Source,
    decode,
    encode,
    verify_content,
)
from proxystore.serialize._legacy import legacy_load
from proxystore.serialize._registry import qualified_name, registry

__all__ = ["deserialize", "is_bytes_like", "serialize"]


def is_bytes_like(obj: object) -> TypeGuard[BytesLike]:
    """Whether ``obj`` is a `bytes`, `bytearray` or `memoryview`."""
    return isinstance(obj, (bytes, bytearray, memoryview))


def serialize(obj: object, *, checksum: bool = True, checksum_below: int | None = None) -> Buffers:
    """The bytes of ``obj``: a header, then its own memory where that is possible.

    The serializer registered for exactly ``type(obj)`` is used, or else pickle
    (protocol 5, large memory out of band), or cloudpickle for what pickle
    cannot do. Safe to call from several threads.

    Args:
        obj: Must not change while the buffers are in use: they alias it.
        checksum: Let `deserialize` notice changed content; one pass over the
            object, some 25 GB/s. Lengths and header are always checked.
        checksum_below: Leave the checksum out of objects of this many bytes and more.

    Raises:
        SerializationError: Nothing can serialize the object.
    """
    identifier, (in_band, buffers) = _dump(obj)
    limit = checksum_below if checksum else 0
    return encode(identifier, in_band, buffers, checksum_below=limit)


# Any: the object can be of any type.
def deserialize(
    data: Payload,
    *,
    readonly: bool = False,
    verify: bool = True,
    allow: Iterable[str] | None = None,
) -> Any:
    """The object whose bytes these are, read in place.

    Objects of the older system are read too, by copying. Safe to call from
    several threads.

    Args:
        data: The bytes that `serialize` gave, in one piece or as `Buffers`. If
            they are writable they belong to the caller (a private mapping, say)
            and arrays in the result alias them.
        readonly: Let arrays in the result alias ``data`` read-only. Otherwise
            the result is writable, which costs a copy if ``data`` is not.
        verify: Check the content against the checksum, if there is one.
        allow: Identifiers of the serializers that may be used, such as
            `SAFE_SERIALIZERS`; `None` allows every one, and pickle runs code.
            It holds for the older format under today's identifiers.

    Raises:
        CorruptObjectError: The bytes are truncated, over-long, changed, or
            not an object at all.
        UnsupportedVersionError: A newer version wrote them.
        UnknownSerializerError: This process lacks the serializer.
        ForbiddenSerializerError: ``allow`` lacks it. Nothing was unpickled.
        SerializationError: The serializer failed, or ``data`` is not bytes-like.
    """
    source = _source(data)
    allowed = None if allow is None else frozenset(allow)
    if source[:4] != MAGIC and (legacy := legacy_load(bytes(source[:3]))) is not None:
        identifier, load_legacy = legacy
        _check_allowed(identifier, allowed)
        load = partial(load_legacy, source[3:].toreadonly(), allowed)
    else:
        frame = decode(source)
        identifier = frame.identifier
        _check_allowed(identifier, allowed)
        if verify:
            verify_content(source, frame)
        buffers = [view.toreadonly() for view in frame.buffers] if readonly else frame.buffers
        serializer = registry.for_identifier(identifier)
        load = partial(serializer.load, frame.in_band.toreadonly(), buffers, readonly=readonly)
    try:
        return load()
    except SerializationError:
        raise
    # What is loaded may run anybody's code, so anything may come out of it.
    except Exception as exc:
        raise _unloadable(identifier, exc) from exc


def _source(data: Payload) -> Source:
    if not isinstance(data, (bytes, bytearray, memoryview, Buffers)):
        raise SerializationError(
            f"deserialize() was given an object of type {qualified_name(type(data))}. Give it "
            f"the bytes of an object: bytes, bytearray, memoryview or Buffers."
        )
    try:
        return Scattered(data) if type(data) is Buffers else flat_view(data)
    except BufferError as exc:
        raise SerializationError(
            f"deserialize() was given memory in several pieces ({exc}). Give it contiguous bytes."
        ) from exc


def _dump(obj: object) -> tuple[str, Dumped]:
    serializer = registry.for_type(type(obj))
    if serializer is not None:
        try:
            dumped = serializer.dump(obj)
        except SerializationError:
            raise
        # A serializer may be anybody's code, so anything may come out of it.
        except Exception as exc:
            raise _undumpable(obj, exc) from exc
        if dumped is not None:
            return serializer.identifier, dumped
    try:
        return PICKLE.identifier, PICKLE.dump(obj)
    except Exception:  # noqa: BLE001 - a __reduce__ may be anybody's code
        try:
            return CLOUDPICKLE.identifier, CLOUDPICKLE.dump(obj)
        except Exception as exc:
            raise _undumpable(obj, exc) from exc


def _undumpable(obj: object, exc: Exception) -> SerializationError:
    return SerializationError(
        f"Cannot serialize an object of type {qualified_name(type(obj))}: {_reason(exc)}. Leave "
        f"out the part that cannot be pickled, define __reduce__ or __getstate__, or call "
        f"register_serializer() for its type."
    )


def _check_allowed(identifier: str, allowed: frozenset[str] | None) -> None:
    if allowed is not None and identifier not in allowed:
        raise ForbiddenSerializerError(identifier, tuple(sorted(allowed)))


def _unloadable(identifier: str, exc: Exception) -> SerializationError:
    if isinstance(exc, ImportError):
        return SerializationError(
            f"An object written by serializer {identifier!r} needs something that cannot be "
            f"imported here: {_reason(exc)}. Install it in this environment."
        )
    return SerializationError(
        f"Loading an object written by serializer {identifier!r} failed: {_reason(exc)}. Check "
        f"that the libraries it uses have the versions here that they had where it was written."
    )


def _reason(exc: Exception) -> str:
    """Type and first line, for the rest may be long or show the object."""
    lines = str(exc).splitlines()
    return f"{type(exc).__name__}: {lines[0][:200]}" if lines else type(exc).__name__
