"""Every word of every file is counted once, and the check notices when one is not."""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from taps.apps._mapreduce import Counts, MapReduceApp, count_words, merge_counts
from taps.apps.corpus import TextFile, find_text, generate_text, partition, standard_library
from taps.apps.mapreduce import MapReduceConfig
from taps.engine import Engine
from taps.errors import RunError

FILES = st.lists(st.integers(0, 10_000), min_size=1, max_size=50).map(
    lambda sizes: [TextFile(f"{index:03}", nbytes) for index, nbytes in enumerate(sizes)]
)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    directory = tmp_path / "text"
    (directory / "deep").mkdir(parents=True)
    (directory / "one.txt").write_text("The cat saw the Cat.\n")
    (directory / "two.md").write_text("snake_case x1 x1\n")
    (directory / "empty.txt").write_text("")
    (directory / "deep" / "odd.txt").write_bytes(
        "na\u00efve \u039f\u0394\u039f\u03a3\r".encode() + b"a\xffb"
    )
    (directory / "image.png").write_bytes(b"\x89PNG\0\0")
    return directory


def count(config: MapReduceConfig, run_dir: Path, executor: Executor | None = None) -> MapReduceApp:
    run_dir.mkdir(exist_ok=True)
    app = MapReduceApp(config)
    with Engine(executor or ThreadPoolExecutor(2)) as engine:
        app.run(engine, run_dir)
    return app


def rows(run_dir: Path) -> list[list[str]]:
    with (run_dir / "words.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_words_are_counted_across_files_and_cases(text: Path, tmp_path: Path) -> None:
    app = count(MapReduceConfig(data_dir=text, top=4), tmp_path / "run")

    assert rows(tmp_path / "run") == [
        ["word", "count"], ["cat", "2"], ["the", "2"], ["x1", "2"], ["a", "1"],
    ]  # fmt: skip
    assert app.verify().ok


@pytest.mark.parametrize("map_tasks", [1, 2, 3, 100, None])
@pytest.mark.parametrize("fan_in", [2, 8])
def test_the_shape_of_the_graph_does_not_change_the_counts(
    text: Path, tmp_path: Path, map_tasks: int | None, fan_in: int
) -> None:
    app = count(
        MapReduceConfig(data_dir=text, map_tasks=map_tasks, fan_in=fan_in, top=99), tmp_path / "run"
    )

    verification = app.verify()
    assert verification.ok, verification.detail
    assert len(rows(tmp_path / "run")) == 1 + 9


@pytest.mark.slow
def test_worker_processes_count_the_same(text: Path, tmp_path: Path) -> None:
    app = count(MapReduceConfig(data_dir=text), tmp_path / "run", ProcessPoolExecutor(2))

    assert app.verify().ok


def test_the_pattern_selects_files_by_name(text: Path, tmp_path: Path) -> None:
    count(MapReduceConfig(data_dir=text, pattern="*.md"), tmp_path / "run")

    assert rows(tmp_path / "run") == [["word", "count"], ["x1", "2"], ["snake_case", "1"]]


def test_binary_files_are_not_text(text: Path) -> None:
    assert ["odd.txt", "empty.txt", "one.txt", "two.md"] == [
        Path(file.path).name for file in find_text(text)
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda counts: dataclasses.replace(counts, files=counts.files - 1),
        lambda counts: dataclasses.replace(counts, nbytes=counts.nbytes + 1),
        lambda counts: dataclasses.replace(counts, words=counts.words + Counter(cat=1)),
        lambda counts: dataclasses.replace(counts, words=counts.words - Counter(cat=2)),
        lambda counts: dataclasses.replace(counts, words=counts.words + Counter(dog=1)),
    ],
    ids=["a file", "a byte", "a word too many", "a lost word", "an invented word"],
)
def test_a_count_that_is_slightly_wrong_is_noticed(text: Path, tmp_path: Path, wrong) -> None:  # type: ignore[no-untyped-def]
    app = count(MapReduceConfig(data_dir=text), tmp_path / "run")
    assert app._counts is not None

    app._counts = wrong(app._counts)

    assert not app.verify().ok


def test_without_a_run_nothing_is_verified() -> None:
    assert not MapReduceApp(MapReduceConfig()).verify().ok


@given(parts=st.lists(st.lists(st.sampled_from("abc")), min_size=1, max_size=5))
def test_merging_adds_counts_and_leaves_its_arguments_alone(parts: list[list[str]]) -> None:
    counts = [Counts(Counter(words), 1, len(words)) for words in parts]
    before = [Counter(part.words) for part in counts]

    merged = merge_counts(counts)

    assert Counter(word for words in parts for word in words) == merged.words
    assert len(parts) == merged.files
    assert before == [part.words for part in counts]


def test_bytes_that_are_not_utf8_end_a_word(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"a\xffb\xffa")

    assert count_words([str(tmp_path / "odd")]) == Counts(Counter(a=2, b=1), 1, 5)


@given(files=FILES, parts=st.none() | st.integers(1, 60))
def test_each_file_is_in_exactly_one_part(files: list[TextFile], parts: int | None) -> None:
    lists = partition(files, parts)

    assert sorted(files) == sorted(file for part in lists for file in part)
    assert len(lists) == min(parts or len(files), len(files))
    assert all(lists)


@given(files=FILES, parts=st.integers(1, 10))
def test_parts_are_balanced_by_bytes(files: list[TextFile], parts: int) -> None:
    lists = partition(files, parts)

    weights = [sum(file.nbytes + 1 for file in part) for part in lists]
    largest = max(file.nbytes + 1 for file in files)
    assert max(weights) - min(weights) <= largest


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no such directory"):
        find_text(tmp_path / "absent")


def test_a_directory_without_text_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"none of its files is text with a name like '\*\.rst'"):
        find_text(tmp_path, "*.rst")


def test_the_text_of_the_running_python_is_found() -> None:
    names = {Path(file.path).name for file in find_text(standard_library(), "a*.py")}

    assert {"argparse.py", "ast.py"} <= names


@pytest.mark.slow
def test_generated_text_follows_its_seed_and_zipf(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate_text(tmp_path / name, files=2, words=2000, seed=seed)
    texts = {
        name: [path.read_text() for path in sorted((tmp_path / name).iterdir())] for name in "abc"
    }

    assert texts["a"] == texts["b"] != texts["c"]
    words = Counter(" ".join(texts["a"]).split())
    assert words.total() == 4000
    assert words.most_common(1)[0][1] > 200


def test_generated_text_is_counted_and_stays_in_the_run_directory(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    app = count(MapReduceConfig(generate=True, generated_files=3, generated_words=50), run_dir)

    verification = app.verify()
    app.close()

    assert verification.ok
    assert verification.value == 150
    assert 3 == len(list((run_dir / "generated").iterdir()))


def test_generated_text_and_a_directory_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="Give one of the two"):
        MapReduceConfig(generate=True, data_dir=tmp_path)


@pytest.mark.parametrize(("option", "value"), [("map_tasks", 0), ("fan_in", 1), ("top", 0)])
def test_options_out_of_range_are_refused(option: str, value: int) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to"):
        MapReduceConfig.model_validate({option: value})
