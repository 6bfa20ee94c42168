"""Text to count: found on disk or generated, and split into parts of equal size."""

from __future__ import annotations

import dataclasses
import fnmatch
import heapq
import itertools
import os
import random
import string
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from taps.errors import RunError

__all__ = ["TextFile", "find_text", "generate_text", "partition", "standard_library"]

_PROBED_NBYTES = 8192
_SKIPPED_DIRECTORIES = frozenset({"__pycache__", "site-packages", "dist-packages"})
_VOCABULARY = 50_000
_WORDS_PER_LINE = 12


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class TextFile:
    """A file and the bytes it had when it was found."""

    path: str
    nbytes: int


def standard_library() -> Path:
    """Where the sources and documents of the running Python are."""
    return Path(sysconfig.get_paths()["stdlib"])


def find_text(directory: Path, pattern: str = "*") -> list[TextFile]:
    """Every text file below ``directory``, sorted by path.

    A file is text if its first 8192 bytes hold no NUL, which is git's rule. Links to
    directories are not followed; compiled and separately installed Python is left out.

    Args:
        directory: Where to look.
        pattern: Shell pattern that the file name matches, such as ``*.md``.

    Raises:
        RunError: ``directory`` does not exist, or no text file in it matches.
    """
    if not directory.is_dir():
        raise RunError(
            f"data_dir {str(directory)!r}",
            "there is no such directory",
            "Name one with text in it.",
        )
    found = sorted(
        TextFile(str(path), path.stat().st_size)
        for path in _walk(directory.absolute(), pattern)
        if _is_text(path)
    )
    if not found:
        raise RunError(
            f"data_dir {str(directory)!r}",
            f"none of its files is text with a name like {pattern!r}",
            "Give another directory or a wider pattern.",
        )
    return found


def _walk(directory: Path, pattern: str) -> Iterator[Path]:
    for parent, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if name not in _SKIPPED_DIRECTORIES]
        paths = (Path(parent, name) for name in names if fnmatch.fnmatchcase(name, pattern))
        yield from (path for path in paths if path.is_file())


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        return b"\0" not in file.read(_PROBED_NBYTES)


def partition(files: Sequence[TextFile], parts: int | None) -> list[list[TextFile]]:
    """Split ``files`` into at most ``parts`` non-empty lists of about equal bytes.

    Each file is in exactly one list. The largest goes first to the lightest list, so
    no list is heavier than 4/3 of the best possible (Graham 1969); equal input gives
    equal lists.

    Args:
        files: What to split.
        parts: How many lists, at least 1; `None` gives each file its own.
    """
    count = len(files) if parts is None else min(parts, len(files))
    lists: list[list[TextFile]] = [[] for _ in range(count)]
    lightest = [(0, index) for index in range(count)]
    for file in sorted(files, key=lambda file: (-file.nbytes, file.path)):
        nbytes, index = heapq.heappop(lightest)
        lists[index].append(file)
        # One more than its size: an empty file takes a list's turn too.
        heapq.heappush(lightest, (nbytes + file.nbytes + 1, index))
    return lists


def generate_text(directory: Path, *, files: int, words: int, seed: int) -> None:
    """Write ``files`` text files of ``words`` words each to a new ``directory``.

    The word of rank r is drawn with weight 1/r (Zipf 1935). Equal arguments write
    equal text.

    Raises:
        FileExistsError: ``directory`` is there already.
    """
    directory.mkdir(parents=True)
    source = random.Random(seed)  # noqa: S311 - text, not a secret
    vocabulary = _invent_words(source)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(vocabulary) + 1)))
    for index in range(files):
        drawn = source.choices(vocabulary, cum_weights=weights, k=words)
        lines = (
            " ".join(drawn[start : start + _WORDS_PER_LINE])
            for start in range(0, words, _WORDS_PER_LINE)
        )
        (directory / f"{index:05}.txt").write_text("\n".join(lines) + "\n", encoding="ascii")


def _invent_words(source: random.Random) -> list[str]:
    words: dict[str, None] = {}
    while len(words) < _VOCABULARY:
        words["".join(source.choices(string.ascii_lowercase, k=source.randint(2, 9)))] = None
    return list(words)
