"""How objects lie in the server: names, headers, and the scripts that change several names at once.

An object is one string: `Header`, then its bytes. One that is too large for a
string is a header alone, and parts beside it. Everything is named
``ps:NAMESPACE:OBJECT``, with ``:GENERATION`` and ``:PART`` where there is more
to an object than that string. ``ps:NAMESPACE`` tells whose the namespace is.

What is being written has a time to live, so that a writer that dies leaves nothing.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from proxystore.errors import ConnectorUnavailableError, CorruptObjectError

__all__ = [
    "ABANDON",
    "CLAIM",
    "CLOSED",
    "COMMIT",
    "EVICT",
    "GENERATION_AT",
    "HEADER_NBYTES",
    "OPEN",
    "PART_NBYTES",
    "RELEASE",
    "STAGED_MS",
    "TOUCH",
    "VERSION",
    "Header",
    "fresh_generation",
    "other_version",
]

VERSION = 1
"""Of the layout. In each header, and in the record of each namespace."""

PART_NBYTES = 256 * 1024 * 1024
"""Most bytes of an object in one string. Redis allows 512 MB; smaller is kinder to its memory."""

STAGED_MS = 3_600_000
"""How long what is being written may take."""

_MAGIC = b"psr"
_HEADER = struct.Struct(">3sB16sQQ")
HEADER_NBYTES = _HEADER.size
_MAX_PARTS = 1 << 16
GENERATION_AT = 4
"""Where the generation is in a header."""

OPEN = b"%do" % VERSION
"""How the record of a namespace begins."""
CLOSED = b"%dc" % VERSION
"""How it begins once the owner has cleared the namespace."""


class Header(NamedTuple):
    """What comes before the bytes of an object."""

    generation: bytes
    """16 hex digits, random: no two writes have the same."""
    nbytes: int
    part_nbytes: int = 0
    """Size of each part but the last; 0 for an object without parts."""

    def to_bytes(self) -> bytes:
        """The header as it is stored."""
        return _HEADER.pack(_MAGIC, VERSION, self.generation, self.nbytes, self.part_nbytes)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray, where: str) -> Header:
        """The header that is stored as ``data``.

        Raises:
            ConnectorUnavailableError: A newer version of this package wrote it.
            CorruptObjectError: It is no header, or one that cannot be.
        """
        if len(data) != HEADER_NBYTES or not data.startswith(_MAGIC):
            raise CorruptObjectError("its value in Redis does not begin with a header of ours")
        _, version, generation, nbytes, part_nbytes = _HEADER.unpack(data)
        if version != VERSION:
            raise other_version(where, version)
        if nbytes > (part_nbytes * _MAX_PARTS if part_nbytes else PART_NBYTES):
            raise CorruptObjectError(f"its header says that it has {nbytes} bytes")
        return cls(generation, nbytes, part_nbytes)

    def part_name(self, name: bytes, number: int) -> bytes:
        """Where a part of the object ``name`` lies."""
        return b"%b:%b:%d" % (name, self.generation, number)

    @property
    def number(self) -> int:
        """The generation, for those who compare numbers."""
        return int(self.generation, 16)

    @property
    def part_count(self) -> int:
        """How many parts there are."""
        return -(-self.nbytes // self.part_nbytes) if self.part_nbytes else 0


def other_version(where: str, version: object) -> ConnectorUnavailableError:
    """The error for something that another version of this package has written."""
    return ConnectorUnavailableError(
        where,
        f"another version of proxystore-connectors-redis wrote there, in layout {version}, and "
        f"this one reads layout {VERSION}",
        "Install the same version everywhere.",
    )


def fresh_generation() -> bytes:
    """What no other write has."""
    return os.urandom(8).hex().encode()


# --- Scripts ------------------------------------------------------------------
# Each runs at once, as one: nobody sees it half done, and no crash leaves it so.

_PARTS = f"""
local function parts(header_at, object)
  local header, names = redis.call('GETRANGE', header_at, 0, {HEADER_NBYTES - 1}), {{}}
  if #header == {HEADER_NBYTES} then
    local nbytes, part_nbytes = struct.unpack('>I8I8', header, 21)
    if part_nbytes > 0 then
      for i = 0, math.min(math.ceil(nbytes / part_nbytes), {_MAX_PARTS}) - 1 do
        names[#names + 1] = object .. ':' .. string.sub(header, 5, 20) .. ':' .. i
      end
    end
  end
  return names
end
local function unlink(names)
  for i = 1, #names, 1000 do
    redis.call('UNLINK', unpack(names, i, math.min(i + 999, #names)))
  end
end
local function expire(name, ms)
  if ms then return redis.call('PEXPIRE', name, ms) end
  return redis.call('PERSIST', name)
end
"""

# Parts outlive their object, for those who are reading it.
_GRACE_MS = 60_000

COMMIT = (
    _PARTS
    + f"""
local object, staged, record = KEYS[1], KEYS[2], KEYS[3]
local mode, generation, ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local state = redis.call('GETRANGE', record, 0, 1)
local found = redis.call('GETRANGE', object, {GENERATION_AT}, {GENERATION_AT + 15})
local new = parts(staged, object)
local function refuse(answer)
  new[#new + 1] = staged
  unlink(new)
  return answer
end
if state ~= '{OPEN.decode()}' then return refuse(state) end
if redis.call('EXISTS', staged) == 0 then return refuse('lost') end
if found ~= generation then
  if mode == 'set' and found ~= '' then return refuse('there') end
  if mode == 'replace' and found == '' then return refuse('absent') end
end
if mode == 'replace' then
  ms = redis.call('PTTL', object)
  if ms < 0 then ms = nil end
end
for _, name in ipairs(new) do
  if expire(name, ms and ms + {_GRACE_MS}) == 0 then return refuse('lost') end
end
if mode == 'set' then redis.call('PUBLISH', object, '') end
local old = found == generation and {{}} or parts(object, object)
redis.call('RENAME', staged, object)
expire(object, ms)
unlink(old)
return 'done'
"""
)
"""Let a staged value, and its parts, become an object at once.

Keys: the object, the staged value, the record of the namespace. Arguments: ``set`` or
``replace``; the generation of the staged value; for ``set``, the time to live in ms, or
nothing. What is replaced keeps its own.

Answers ``done``; ``there`` where ``set`` finds another object, and ``absent`` where
``replace`` finds none; ``lost`` if what was staged is gone; or how the record begins if that
forbids it, which is nothing if there is none. With any answer but ``done``, what was staged is
removed.

May be asked again when its answer was lost, with the same generation staged anew: ``done``
if that generation is the object still. If others have replaced or evicted it meanwhile,
the answer is as if it had never been.
"""

ABANDON = (
    _PARTS
    + f"""
local found = redis.call('GETRANGE', KEYS[1], {GENERATION_AT}, {GENERATION_AT + 15})
if found == ARGV[1] then return 0 end
table.remove(KEYS, 1)
unlink(KEYS)
return 1
"""
)
"""Remove what lies under all keys but the first, unless that is the object of this generation."""

TOUCH = (
    _PARTS
    + f"""
local ms = tonumber(ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for _, name in ipairs(parts(KEYS[1], KEYS[1])) do expire(name, ms and ms + {_GRACE_MS}) end
expire(KEYS[1], ms)
return 1
"""
)
"""Give the object a time to live of so many ms, or none for none. Answers whether there is one."""

EVICT = (
    _PARTS
    + """
local names = parts(KEYS[1], KEYS[1])
names[#names + 1] = KEYS[1]
unlink(names)
"""
)
"""Remove an object and its parts."""

CLAIM = f"""
local found = redis.call('GET', KEYS[1])
if found and string.sub(found, 1, 1) ~= '{VERSION}' then return found end
if found and string.sub(found, 1, 2) == '{OPEN.decode()}' and ARGV[2] == '' then return found end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
"""
"""Let the record be the first argument, unless it is open; even so, if the second is not empty.

Answers the record as it is then.
"""

RELEASE = """
local found = redis.call('GET', KEYS[1])
if found and found ~= ARGV[1] and found ~= ARGV[2] then return 0 end
-- A full server lets a script write that has written something which needs no room.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
"""Replace the record by the second argument, for so many ms, if it is the first, or not there.

May be asked again: a record that is the second already counts as replaced.
"""
