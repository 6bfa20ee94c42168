"""Reading objects: straight into the memory that the caller gets.

What is small comes as the library received it. What is large goes into private memory that the
caller may write to, or arrays made of it would have to be copied once more: chunk by chunk from
one answer, or in parts, over several connections where that is faster.
"""

from __future__ import annotations

import asyncio
import functools
import mmap
from collections.abc import Callable
from typing import Any, NamedTuple, Self, TypeAlias

from proxystore.payload import BytesLike
from proxystore_connectors_obstore._client import ChangedError, Client
from proxystore_connectors_obstore._failures import busy, cut_short, is_unsatisfiable
from proxystore_connectors_obstore._services import Service
from proxystore_connectors_obstore._stamp import Stamp

__all__ = ["aread", "read"]

_SMALL_NBYTES = 1 << 20
_CHUNK_NBYTES = 1 << 20
_ATTEMPTS = 4


class _Wanted(NamedTuple):
    """The part of an object that is to be read."""

    offset: int
    length: int | None

    def end(self, size: int) -> int:
        """Where it ends in an object of ``size`` bytes."""
        return size if self.length is None else min(self.offset + self.length, size)

    def first_request(self, part_nbytes: int | None) -> dict[str, Any]:
        """Options of a request for it, or for its first part."""
        limits = [limit for limit in (self.length, part_nbytes) if limit is not None]
        if not limits:
            return {}
        return {"range": (self.offset, self.offset + min(limits))}


class _Part(NamedTuple):
    start: int
    end: int
    e_tag: str

    def request(self) -> dict[str, Any]:
        return {"range": (self.start, self.end), "if_match": self.e_tag}


_Each: TypeAlias = Callable[[Callable[[_Part], None], list[_Part]], object]


def read(
    client: Client, name: str, offset: int = 0, length: int | None = None, *, alone: bool = True
) -> memoryview | None:
    """The bytes of an object, or of part of it; `None` if there is none or it has expired.

    Args:
        client: To read with.
        name: Of the object.
        offset: Where to begin.
        length: How much to read at most; `None`: all there is, from ``offset`` on.
        alone: Whether this is the only read of its caller, which may then use several
            connections. Must be false on a thread of ``client``.
    """
    if length == 0:
        return memoryview(b"") if client.exists(name) else None
    wanted = _Wanted(offset, length)
    for _ in range(_ATTEMPTS):
        try:
            return _read(client, name, wanted, client.map if alone else _one_by_one)
        except ChangedError:
            # Exchanged between two parts: once more from the beginning.
            continue
        except FileNotFoundError:
            return None
    raise busy(client.address, name)


async def aread(client: Client, name: str) -> memoryview | None:
    """As `read`, of the whole object."""
    for _ in range(_ATTEMPTS):
        try:
            return await _aread(client, name, _Wanted(0, None))
        except ChangedError:
            continue
        except FileNotFoundError:
            return None
    raise busy(client.address, name)


def _part_nbytes(client: Client) -> int | None:
    """The size of parts to read in; `None` if one answer is faster."""
    address = client.address
    # The library gives a file in chunks of 8 KB, six times slower than in parts.
    in_parts = address.service is Service.LOCAL or address.connections > 1
    return address.part_nbytes if in_parts else None


def _read(client: Client, name: str, wanted: _Wanted, each: _Each) -> memoryview | None:
    part_nbytes = _part_nbytes(client)
    get = functools.partial(client.library.get, client.store, name)
    with client.explained():
        try:
            result = get(options=wanted.first_request(part_nbytes))
        except client.library.exceptions.BaseError as exc:
            if not is_unsatisfiable(exc):
                raise
            return memoryview(b"") if client.exists(name) else None
        if Stamp.read(result.attributes).has_expired:
            return None
        plan = _Plan.of(result, wanted, part_nbytes)
        if plan is None:
            return memoryview(result.bytes())
        filling = _Filling(plan.target, plan.received, client)
        for chunk in result.stream(min_chunk_size=_CHUNK_NBYTES):
            filling.add(chunk)
        filling.end()

    def read_part(part: _Part) -> None:
        with client.explained():
            plan.place(part, get(options=part.request()).bytes())

    each(read_part, plan.parts)
    return plan.target


async def _aread(client: Client, name: str, wanted: _Wanted) -> memoryview | None:
    part_nbytes = _part_nbytes(client)
    get = functools.partial(client.library.get_async, client.store, name)
    with client.explained():
        try:
            result = await get(options=wanted.first_request(part_nbytes))
        except client.library.exceptions.BaseError as exc:
            if not is_unsatisfiable(exc):
                raise
            return memoryview(b"") if await client.aexists(name) else None
        if Stamp.read(result.attributes).has_expired:
            return None
        plan = _Plan.of(result, wanted, part_nbytes)
        if plan is None:
            return memoryview(await result.bytes_async())
        filling = _Filling(plan.target, plan.received, client)
        async for chunk in result.stream(min_chunk_size=_CHUNK_NBYTES):
            filling.add(chunk)
        filling.end()
        limit = asyncio.Semaphore(client.address.connections)

        async def read_part(part: _Part) -> None:
            async with limit:
                found = await get(options=part.request())
                plan.place(part, await found.bytes_async())

        await asyncio.gather(*map(read_part, plan.parts))
    return plan.target


class _Plan(NamedTuple):
    """How a large read is put together."""

    target: memoryview
    received: int
    """How many bytes at its beginning the first answer has."""
    offset: int
    parts: list[_Part]
    """What is to be asked for beside it."""

    # Any: a GetResult.
    @classmethod
    def of(cls, result: Any, wanted: _Wanted, part_nbytes: int | None) -> Self | None:
        """The plan after the first answer, `None` if that is all and small."""
        start, received = result.range
        end = wanted.end(result.meta["size"])
        if end - start <= _SMALL_NBYTES:
            return None
        step, e_tag = part_nbytes or end, result.meta["e_tag"]
        parts = [_Part(at, min(at + step, end), e_tag) for at in range(received, end, step)]
        return cls(_private_memory(end - start), received - start, start, parts)

    def place(self, part: _Part, found: BytesLike) -> None:
        self.target[part.start - self.offset : part.end - self.offset] = memoryview(found)


class _Filling:
    """Puts the chunks of an answer one behind the other."""

    def __init__(self, target: memoryview, nbytes: int, client: Client) -> None:
        self._target, self._nbytes, self._client = target, nbytes, client
        self._at = 0

    def add(self, chunk: BytesLike) -> None:
        view = memoryview(chunk)
        self._target[self._at : self._at + len(view)] = view
        self._at += len(view)

    def end(self) -> None:
        if self._at != self._nbytes:
            raise cut_short(self._client.address)


def _one_by_one(function: Callable[[_Part], None], parts: list[_Part]) -> None:
    for part in parts:
        function(part)


def _private_memory(nbytes: int) -> memoryview:
    """Memory of zeros that is the caller's own, in a forked child too."""
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)
