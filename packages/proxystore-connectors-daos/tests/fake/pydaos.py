"""A stand-in for pydaos, where no DAOS is: the documented semantics, on files.

https://docs.daos.io/latest/user/python says what a dictionary does: keys are
strings and values bytes; a value that is None or empty removes its key; `get`
of an absent key raises KeyError; removing an absent key is silent. `bget` sets
None for an absent key, `DCont.get` raises DObjNotFound, and `DCont.dict` fails
if there is one. Each value appears whole. A handle that came through a fork
does not work in the child, as before DAOS 2.8, and must not be closed there.

It serves several processes: pools are directories under $PYDAOS_FAKE_ROOT,
containers and dictionaries directories in those. A pool with a file ``down``
does not answer, one with a file ``quota`` has room for so many bytes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

IS_FAKE = True


class PyDError(Exception):
    def __init__(self, message: str, name: str) -> None:
        self.message = f"{message}: {name}"
        super().__init__(self.message)


class DObjNotFound(Exception):
    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"Failed to open '{name}'")


class DCont:
    def __init__(
        self, pool: str | None = None, cont: str | None = None, path: str | None = None
    ) -> None:
        if pool is None or cont is None:
            raise PyDError("invalid pool or container UUID", "DER_INVAL")
        self.pool, self.cont = pool, cont
        self._pool = Path(os.environ["PYDAOS_FAKE_ROOT"], quote(pool, safe=""))
        self._path = self._pool / quote(cont, safe="")
        self._pid = os.getpid()
        self.answer("failed to access container")
        if not self._path.is_dir():
            raise PyDError("failed to access container", "DER_NONEXIST")

    def answer(self, failed: str) -> None:
        if os.getpid() != self._pid:
            raise PyDError(failed, "DER_NO_HDL")
        if (self._pool / "down").exists():
            raise PyDError(failed, "DER_TIMEDOUT")

    def require_room(self, nbytes: int) -> None:
        quota = self._pool / "quota"
        if not quota.exists():
            return
        used = sum(file.stat().st_size for file in self._path.rglob("*") if file.is_file())
        if used + nbytes > int(quota.read_text()):
            raise PyDError("failed to store KV value", "DER_NOSPACE")

    def get(self, name: str) -> DDict:
        self.answer("failed to look up name")
        folder = self._path / quote(name, safe="")
        if not folder.is_dir():
            raise DObjNotFound(name)
        return DDict(name, folder, self)

    def dict(self, name: str, v: dict[str, bytes] | None = None) -> DDict:
        self.answer("failed to create DAOS dict")
        folder = self._path / quote(name, safe="")
        try:
            folder.mkdir()
        except FileExistsError:
            raise PyDError("failed to create DAOS dict", "DER_EXIST") from None
        made = DDict(name, folder, self)
        made.bput(v)
        return made


class DDict:
    value_size = 1024 * 1024

    def __init__(self, name: str, folder: Path, cont: DCont) -> None:
        self.name, self.cont = name, cont
        self._folder, self._pid = folder, os.getpid()

    def __del__(self) -> None:
        if os.getpid() != self._pid:
            (Path(os.environ["PYDAOS_FAKE_ROOT"]) / "closed-in-a-child").touch()

    def get(self, key: str) -> bytes:
        values: dict[str, bytes | None] = {key: None}
        self.bget(values)
        found = values[key]
        if found is None:
            raise KeyError(key)
        return found

    def put(self, key: str, val: bytes | None) -> None:
        self.bput({key: val})

    def pop(self, key: str) -> None:
        self.put(key, None)

    __getitem__, __setitem__, __delitem__ = get, put, pop

    def bget(self, d: dict[str, bytes | None], value_size: int | None = None) -> object:
        self.cont.answer("failed to retrieve KV value")
        for key in d:
            try:
                d[key] = self._file(key).read_bytes()
            except FileNotFoundError:
                d[key] = None
        return d

    def bput(self, d: dict[str, bytes | None] | None) -> None:
        self.cont.answer("failed to store KV value")
        for key, value in (d or {}).items():
            if isinstance(value, str):
                value = value.encode()
            if not value:
                self._file(key).unlink(missing_ok=True)
            elif not isinstance(value, bytes):
                raise TypeError(f"expected bytes, {type(value).__name__} found")
            else:
                self._store(key, value)

    def _store(self, key: str, value: bytes) -> None:
        self.cont.require_room(len(value))
        descriptor, draft = tempfile.mkstemp(dir=self._folder.parent, prefix=".")
        with open(descriptor, "wb") as file:
            file.write(value)
        os.replace(draft, self._file(key))

    def dump(self) -> dict[str, bytes | None]:
        everything: dict[str, bytes | None] = dict.fromkeys(self)
        self.bget(everything)
        return everything

    def __iter__(self) -> Iterator[str]:
        self.cont.answer("failed to enumerate Dictionary")
        return iter([unquote(name) for name in os.listdir(self._folder)])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: str) -> bool:
        return self._file(key).exists()

    def _file(self, key: str) -> Path:
        if not isinstance(key, str) or "\0" in key:
            raise TypeError(f"a key is a string, not {key!r}")
        return self._folder / quote(key, safe="")
