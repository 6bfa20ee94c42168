"""Word count as a task graph: many maps, a tree of reduces, and a second count to check.

Source: Dean and Ghemawat, "MapReduce: Simplified Data Processing on Large Clusters",
OSDI 2004; reduced here as a tree, because one reduce of everything is the longest task.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from taps.apps.abc import Verification
from taps.apps.corpus import TextFile, find_text, generate_text, partition, standard_library
from taps.engine import Engine, TaskFuture, task

if TYPE_CHECKING:
    from taps.apps.mapreduce import MapReduceConfig

__all__ = ["Counts", "MapReduceApp", "count_words", "merge_counts"]

_WORD = re.compile(r"\w+")
_BETWEEN_WORDS = re.compile(r"\W+")


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """How often each lower-case word is in some text, and how much text that was."""

    words: Counter[str]
    files: int
    nbytes: int


@task(name="map")
def count_words(paths: Sequence[str]) -> Counts:
    """Count the words of some files.

    A word is a run of letters, digits and underscores, in lower case. Bytes that are
    not UTF-8 end a word.

    Raises:
        OSError: A file cannot be read.
    """
    words: Counter[str] = Counter()
    nbytes = 0
    for path in paths:
        content = Path(path).read_bytes()
        nbytes += len(content)
        words.update(_WORD.findall(content.decode("utf-8", errors="replace").lower()))
    return Counts(words, len(paths), nbytes)


@task(name="reduce")
def merge_counts(parts: Sequence[Counts]) -> Counts:
    """The sum of ``parts``, which are read only."""
    words: Counter[str] = Counter()
    for part in parts:
        words.update(part.words)
    return Counts(words, sum(part.files for part in parts), sum(part.nbytes for part in parts))


class MapReduceApp:
    """One word count, written to ``words.csv`` in the run directory."""

    def __init__(self, config: MapReduceConfig) -> None:
        self._config = config
        self._files: list[TextFile] = []
        self._counts: Counts | None = None

    def run(self, engine: Engine, run_dir: Path) -> None:
        """Count, and write the most frequent words.

        Raises:
            RunError: There is no text to count.
        """
        self._files = find_text(self._text_directory(run_dir), self._config.pattern)
        parts = partition(self._files, self._config.map_tasks)
        level = [engine.submit(count_words, [file.path for file in part]) for part in parts]
        while len(level) > 1:
            level = self._reduce(engine, level)
        self._counts = level[0].result()
        _write_words(run_dir / "words.csv", self._counts.words, self._config.top)

    def _text_directory(self, run_dir: Path) -> Path:
        if not self._config.generate:
            return self._config.data_dir or standard_library()
        directory = run_dir / "generated"
        generate_text(
            directory,
            files=self._config.generated_files,
            words=self._config.generated_words,
            seed=self._config.seed,
        )
        return directory

    def _reduce(
        self, engine: Engine, level: Sequence[TaskFuture[Counts]]
    ) -> list[TaskFuture[Counts]]:
        fan_in = self._config.fan_in
        groups = (level[start : start + fan_in] for start in range(0, len(level), fan_in))
        return [
            engine.submit(merge_counts, list(group)) if len(group) > 1 else group[0]
            for group in groups
        ]

    def verify(self) -> Verification:
        """Compare with one count of all files, in this process.

        It splits text at what is between words, where the tasks look for the words,
        and must find the same files, bytes and count of every word.
        """
        if self._counts is None:
            return Verification(ok=False, detail="There are no counts: the run did not finish.")
        expected = _count_serially(self._files)
        differences = list(_differences(expected, self._counts))
        total = expected.words.total()
        detail = "; ".join(differences) or (
            f"{total:,} words in {expected.files:,} files ({expected.nbytes / 1e6:.1f} MB) "
            f"equal to a serial count"
        )
        return Verification(ok=not differences, detail=detail, value=float(total))

    def close(self) -> None:
        """Forget the counts; generated text stays in the run directory."""
        self._files, self._counts = [], None


def _count_serially(files: Sequence[TextFile]) -> Counts:
    words: Counter[str] = Counter()
    for file in files:
        with Path(file.path).open(encoding="utf-8", errors="replace") as text:
            words.update(_BETWEEN_WORDS.split(text.read().lower()))
    del words[""]  # Before the first word of a file and after its last.
    return Counts(words, len(files), sum(file.nbytes for file in files))


def _differences(expected: Counts, found: Counts) -> Iterator[str]:
    if found.files != expected.files:
        yield f"counted {found.files} files of {expected.files}"
    if found.nbytes != expected.nbytes:
        yield f"counted {found.nbytes} bytes of {expected.nbytes}"
    wrong = [
        word
        for word in sorted(expected.words.keys() | found.words.keys())
        if expected.words[word] != found.words[word]
    ]
    if wrong:
        word = wrong[0]
        yield (
            f"{len(wrong)} words are counted wrongly, such as {word!r}: "
            f"{found.words[word]} times, not {expected.words[word]}"
        )


def _write_words(path: Path, words: Counter[str], top: int) -> None:
    ranked = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["word", "count"])
        writer.writerows(itertools.islice(ranked, top))
