"""Soaks `ShmConnector`: processes killed at random, beside a dict of what must be there.

Each worker puts, reads, evicts, replaces and holds views, in a medium too small for all, so
that objects go to disk and back. An object that was acknowledged must be whole until it is
evicted; one that was evicted must stay away. Shared memory, descriptors and private memory must not
grow. Ends with a summary, and exit code 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import time
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from proxystore.connectors.shm import ShmConnector, ShmKey

_SIZES = (0, 30, 1000, 20_000, 65_536, 70_000, 400_000, 2_000_000)
_MAX_NBYTES = 40_000_000
_MOST_OBJECTS = 400
_HELD = 8
_ANSWER_SECONDS = 60
# Files that are kept to be filled again, and slabs of workers that are dead by now.
_MOST_DESCRIPTORS = 200


class Model(NamedTuple):
    """What must be there, and what must not."""

    objects: dict[ShmKey, tuple[int, int]]
    """Size and number of each object."""
    gone: list[ShmKey]


def content(nbytes: int, number: int) -> bytes:
    """What an object has: any other byte is wrong."""
    return bytes([number % 256]) * nbytes


# Any: requests and answers of several kinds.
def work(connection: Connection, url: str) -> None:
    """Answer requests until the other end is closed."""
    warnings.simplefilter("ignore")
    medium = ShmConnector.from_url(url)
    held: list[tuple[Any, bytes]] = []
    while True:
        try:
            op, key, nbytes, number = connection.recv()
        except EOFError:
            return
        connection.send(_answer(medium, held, op, key, content(nbytes, number)))


def _answer(
    medium: ShmConnector, held: list[tuple[Any, bytes]], op: str, key: Any, data: bytes
) -> Any:
    if op == "put":
        return tuple(medium.put(data))
    if op == "replace":
        return medium.replace(ShmKey(*key), data)
    if op == "evict":
        return medium.evict(ShmKey(*key))
    found = medium.get(ShmKey(*key))
    if op == "absent":
        return found is None and not medium.exists(ShmKey(*key))
    if found != data:
        return described(found)
    held.append((found, data))
    del held[:-_HELD]
    return all(view == expected for view, expected in held)


def described(found: Any) -> str:
    """What was found, in few words."""
    if found is None:
        return "nothing"
    data = bytes(found)
    return f"{len(data)} bytes, {sorted(set(data))[:4]}"


class Worker:
    """A process that answers."""

    def __init__(self, url: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, url), daemon=True)
        self.process.start()
        theirs.close()

    def kill(self) -> None:
        """With -9."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class Soak:
    """Runs until a time, and counts."""

    def __init__(self, medium: ShmConnector, n_workers: int, rng: random.Random) -> None:
        self.medium, self.rng = medium, rng
        self.workers = [Worker(medium.url) for _ in range(n_workers)]
        self.model = Model({}, [])
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def step(self) -> None:
        """One request to one worker, which may be killed before it answers."""
        worker = self.rng.choice(self.workers)
        op, key = self._chosen()
        nbytes, number = self.rng.choice(_SIZES), self.rng.randrange(256)
        if op == "get" and key is not None:
            nbytes, number = self.model.objects[key]
        worker.connection.send((op, key and tuple(key), nbytes, number))
        if self.rng.random() < 0.002:
            time.sleep(self.rng.random() * 0.002)
            worker.kill()
            self.counts["kills"] += 1
            self.workers[self.workers.index(worker)] = Worker(self.medium.url)
            # Whether it was done is not known.
            if op in {"evict", "replace"} and key is not None:
                del self.model.objects[key]
            return
        if not worker.connection.poll(_ANSWER_SECONDS):
            self.wrong.append(f"{op} of {key} has no answer")
            worker.kill()
            raise SystemExit("\n".join(self.wrong))
        self._note(op, key, (nbytes, number), worker.connection.recv())

    def _chosen(self) -> tuple[str, ShmKey | None]:
        objects, gone = self.model
        if not objects or (self.rng.random() < 0.35 and len(objects) < _MOST_OBJECTS):
            return "put", None
        if gone and self.rng.random() < 0.1:
            return "absent", self.rng.choice(gone)
        op = self.rng.choices(("get", "evict", "replace"), (5, 3, 1))[0]
        return op, self.rng.choice(list(objects))

    def _note(self, op: str, key: ShmKey | None, what: tuple[int, int], answer: Any) -> None:
        self.counts[op] += 1
        if op == "put":
            self.model.objects[ShmKey(*answer)] = what
        elif key is not None and op == "replace":
            self.model.objects[key] = what
        elif key is not None and op == "evict":
            del self.model.objects[key]
            self.model.gone.append(key)
            del self.model.gone[:-200]
        elif answer is not True:
            self.wrong.append(f"{op} of {key}: {answer} where {what} was stored")

    def check(self) -> None:
        """Look at everything."""
        for key, what in self.model.objects.items():
            found = self.medium.get(key)
            if found != content(*what):
                self.wrong.append(f"{key}: {described(found)} where {what} was stored")
        taken = self.medium.census().uses.total()
        if taken > _MAX_NBYTES * 1.05:
            self.wrong.append(f"{taken} bytes of shared memory are taken")


def main() -> int:
    """Run the soak that the command line asks for; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with ShmConnector(max_nbytes=_MAX_NBYTES) as medium:
        soak = Soak(medium, options.processes, random.Random(options.seed))  # noqa: S311
        started = time.monotonic()
        first: int | None = None
        while time.monotonic() - started < options.seconds and not soak.wrong:
            for _ in range(500):
                soak.step()
            medium.gc()
            soak.check()
            first = first or len(os.listdir("/proc/self/fd"))
        grown = len(os.listdir("/proc/self/fd")) - (first or 0)
        if grown > _MOST_DESCRIPTORS:
            soak.wrong.append(f"descriptors grew by {grown}")
        for worker in soak.workers:
            worker.kill()
        for key in soak.model.objects:
            medium.evict(key)
        medium.gc()
        path = Path(medium.config()["store_dir"])
        print(f"soak of ShmConnector, seed {options.seed}, {options.seconds:g} s: ", end="")
        print(", ".join(f"{count} {name}" for name, count in sorted(soak.counts.items())))
        print(f"descriptors grew by {grown}; at the end {medium.census().objects} objects that")
        print(f"nobody knows of, put by killed processes; {medium.census().uses.total()} bytes")
    if path.exists():
        soak.wrong.append(f"{path} was not cleared")
    print("\n".join(soak.wrong) or "nothing was wrong")
    return int(bool(soak.wrong))


if __name__ == "__main__":
    sys.exit(main())
