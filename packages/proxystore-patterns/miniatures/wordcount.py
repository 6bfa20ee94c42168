"""A miniature of map-reduce, counting words: what ownership is worth.

Texts come in batches. Of each batch, map tasks split one text each into its words, leave out
those of a table that all of them read, and sort the rest into parts, of which reduce tasks
count one each. What lies between map and reduce is as large as the text, and of no use
afterwards. The texts are made up from the seed, with frequencies as in natural language. Three
ways of running it give the same result:

- by value: texts and parts go through the pool;
- by proxy: they go through a store in shared memory, where nobody removes them;
- owned: the same, and each has one owner, which is a task in the end: with it, the object goes.
  The table is borrowed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Isolated Python leaves out the directory of its script.
sys.path.insert(0, str(Path(__file__).parent))

from measuring import Run, Watch
from program import Miniature, main
from tasks import Span, opened, worked

from proxystore.connectors.shm import ShmConnector
from proxystore.store import Store
from proxystore_patterns.ownership import borrow, own, submit

__all__ = ["WordCount"]

# Any throughout: tasks take values in one way and proxies in another.
Words = NDArray[np.bytes_]
Texts = NDArray[np.uint8]
Counts = tuple[Words, NDArray[np.int64]]

_REDUCERS = 2
_WORD = "S8"
_VOCABULARY, _LEFT_OUT = 20_000, 50


class Shape(NamedTuple):
    """How much text there is."""

    batches: int
    texts: int
    """In each batch."""
    words: int
    """In each text."""


FULL = Shape(batches=6, texts=2, words=400_000)
TINY = Shape(batches=2, texts=2, words=500)


# --- Tasks ------------------------------------------------------------------------


def split(text: Texts, left_out: Words) -> tuple[Words, ...]:
    """The words of a text but for those left out, a part for each reduce task."""
    words = np.array(text.tobytes().split(), _WORD)
    words = words[~np.isin(words, left_out)]
    part = words.view(np.uint8).reshape(len(words), -1).sum(axis=1) % _REDUCERS
    return tuple(words[part == number] for number in range(_REDUCERS))


def count(*parts: Words) -> Counts:
    """How often each word occurs in all of ``parts`` together."""
    words, counts = np.unique(np.concatenate(parts), return_counts=True)
    return words, counts


def split_and_keep(keep: Callable[[Any], Any], text: Texts, left_out: Words) -> tuple[Any, ...]:
    """As `split`, and what ``keep`` makes of each part."""
    return tuple(keep(part) for part in split(text, left_out))


# --- Ways to pass on data -----------------------------------------------------------


class ByValue:
    """Through the pool."""

    def __init__(self, pool: Executor, store: Store[ShmConnector]) -> None:
        self._pool, self._store = pool, store

    def kept(self, value: Any) -> Any:
        """What tasks are given for ``value``."""
        return value

    def keeper(self) -> Callable[[Any], Any]:
        """Does the same in a task."""
        return _as_it_is

    def map(self, task: str, text: Any, left_out: Any) -> Future[tuple[Span, Any]]:
        """Split a text in a task."""
        return self._pool.submit(self._mapping(task), text, left_out)

    def reduce(self, task: str, parts: list[Any]) -> Future[tuple[Span, Any]]:
        """Count words in a task."""
        return self._pool.submit(worked, "reduce", task, 0.0, count, *parts)

    def _mapping(self, task: str) -> Callable[..., tuple[Span, Any]]:
        return partial(worked, "map", task, 0.0, partial(split_and_keep, self.keeper()))


class ByProxy(ByValue):
    """Through the store, for good."""

    def kept(self, value: Any) -> Any:
        return self._store.proxy(value)

    def keeper(self) -> Callable[[Any], Any]:
        return partial(_proxied, self._store.connector.url)


class Owned(ByValue):
    """Through the store, until the owner is done with it."""

    def kept(self, value: Any) -> Any:
        return own(self._store, value)

    def keeper(self) -> Callable[[Any], Any]:
        return partial(_owned, self._store.connector.url)

    def map(self, task: str, text: Any, left_out: Any) -> Future[tuple[Span, Any]]:
        # The task owns the text from now on, and has borrowed the table until it ends.
        return submit(self._pool.submit, args=(self._mapping(task), text, borrow(left_out)))


def _as_it_is(value: Any) -> Any:
    return value


def _proxied(url: str, value: Any) -> Any:
    return opened(url).proxy(value)


def _owned(url: str, value: Any) -> Any:
    return own(opened(url), value)


# --- The miniature --------------------------------------------------------------------


class WordCount(Miniature):
    """See the module."""

    name = "wordcount"
    title = "Map-reduce, miniature: objects that go with their last task"
    ways = ("by value", "by proxy", "owned")
    workers = 2
    _ways = (ByValue, ByProxy, Owned)

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._shape = TINY if options.tiny else FULL
        self._folder = folder
        self._left_out = _write_input(folder, self._shape, options.seed)

    def expected(self) -> dict[str, int]:
        found = Counter[bytes]()
        for path in sorted(self._folder.iterdir()):
            found.update(path.read_bytes().split())
        for word in self._left_out:
            del found[word]
        return _plain(found)

    def run(
        self, way: str, pool: Executor, store: Store[ShmConnector]
    ) -> tuple[Run, dict[str, int]]:
        with Watch(way, store) as watch:
            spans, found = self._counted(self._ways[self.ways.index(way)](pool, store))
            watch.run.spans = spans
        return watch.run, _plain(found)

    def _counted(self, way: ByValue) -> tuple[list[Span], Counter[bytes]]:
        spans: list[Span] = []
        found = Counter[bytes]()
        left_out = way.kept(self._left_out)
        for batch in range(self._shape.batches):
            mapping = [
                way.map(path.name, way.kept(np.fromfile(path, np.uint8)), left_out)
                for path in sorted(self._folder.glob(f"{batch}-*"))
            ]
            mapped = [task.result() for task in mapping]
            del mapping  # Futures keep results.
            spans += [span for span, _ in mapped]
            parts = zip(*(each for _, each in mapped), strict=True)
            del mapped
            reducing = [
                way.reduce(f"{batch}-{number}", list(each)) for number, each in enumerate(parts)
            ]
            for task in reducing:
                span, (words, counts) = task.result()
                spans.append(span)
                found.update(dict(zip(words.tolist(), counts.tolist(), strict=True)))
        return spans, found


def _plain(found: Counter[bytes]) -> dict[str, int]:
    return {word.decode(): number for word, number in sorted(found.items()) if number}


def _write_input(folder: Path, shape: Shape, seed: int) -> Words:
    """Write texts; gives the most frequent words."""
    draw = np.random.default_rng(seed)
    letters = draw.integers(ord("a"), ord("z") + 1, (_VOCABULARY, 7), np.uint8)
    vocabulary = letters.view("S7").ravel()
    # The n-th word occurs as often as 1 / n, as Zipf found.
    share = 1 / np.arange(1, _VOCABULARY + 1)
    share /= share.sum()
    for batch in range(shape.batches):
        for text in range(shape.texts):
            words = draw.choice(vocabulary, shape.words, p=share)
            (folder / f"{batch}-{text}").write_bytes(b" ".join(words.tolist()))
    return vocabulary[:_LEFT_OUT].astype(_WORD)


if __name__ == "__main__":
    sys.exit(main(WordCount, __doc__))
