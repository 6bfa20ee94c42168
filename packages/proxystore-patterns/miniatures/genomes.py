"""A miniature of the 1000 Genomes workflow: what proxies of results to come are worth.

Reads genotypes of a chromosome in chunks (individuals), joins them (merge), picks the variants
that change a protein (sifting), and computes for each population which variants its people
share (overlap) and how often they occur (frequency). The genotypes are made up from the seed;
all that is computed from them is real. Three ways of running it give the same result:

- by value: tasks of a stage are submitted once those before it are done, and data goes through
  the pool;
- by proxy: the same, and data goes through a store in shared memory;
- futures: all tasks are submitted at once, with proxies of results that do not exist yet.

Each task begins with a start-up that needs no input, such as imports from a parallel file
system or the start of a container. It is the one thing that is waited for and not computed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, wait
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
from proxystore_patterns import futures

__all__ = ["Genomes"]

# Any throughout: what tasks take and give differs by task.
Counts = NDArray[np.int64]
Genotypes = NDArray[np.int8]

_GROUPS, _GROUP_SIZE = 60, 52
_HARMFUL = 0.05


class Shape(NamedTuple):
    """How much of everything there is."""

    chunks: int
    variants: int
    """In each chunk."""
    people: int
    populations: int


FULL = Shape(chunks=4, variants=4000, people=2504, populations=3)
TINY = Shape(chunks=2, variants=40, people=60, populations=2)


# --- Tasks ----------------------------------------------------------------------


def individuals(path: str) -> Genotypes:
    """How many of the two copies of each variant (row) each person (column) carries."""
    with open(path, "rb") as file:
        people, _ = (int(word) for word in file.readline().split())
        # Of "0|1" and a tab or the end of the line.
        cells = np.frombuffer(file.read(), np.uint8).reshape(-1, people, 4)
    return (cells[:, :, 0] + cells[:, :, 2] - 2 * ord("0")).astype(np.int8)


def merge(*chunks: Genotypes) -> NDArray[np.bool_]:
    """Whether each person (row) carries each variant (column)."""
    return np.ascontiguousarray(np.concatenate(chunks).T > 0)


def sifting(path: str) -> Counts:
    """Which variants harm: their SIFT scores are low."""
    scores = np.loadtxt(path, dtype=np.float64)
    return np.flatnonzero(scores < _HARMFUL)


def overlap(carried: NDArray[np.bool_], harmful: Counts, people: Counts) -> Counts:
    """How many pairs of people share 0, 1, 2 ... harmful variants."""
    mine = carried[people][:, harmful].astype(np.float32)
    shared = (mine @ mine.T)[np.triu_indices(len(people), 1)]
    return np.bincount(shared.astype(np.int64), minlength=harmful.size + 1)


def frequency(carried: NDArray[np.bool_], harmful: Counts, people: Counts) -> Counts:
    """How many variants occur in 0, 1, 2 ... people, in groups drawn from a population."""
    draw = np.random.default_rng(int(people[0]))
    mine = carried[people][:, harmful]
    size = min(_GROUP_SIZE, len(people))
    found = np.zeros(size + 1, np.int64)
    for _ in range(_GROUPS):
        group = draw.choice(len(people), size, replace=False)
        found += np.bincount(mine[group].sum(axis=0), minlength=size + 1)
    return found


# --- The workflow, and ways to run it ---------------------------------------------

Submit = Callable[..., Any]
SharedStore = Store[ShmConnector]


def workflow(submit: Submit, folder: Path, shape: Shape) -> dict[str, Any]:
    """Submit every task; what ``submit`` gives for one is taken for an input of others."""
    chunks = [
        submit("individuals", f"individuals {number}", individuals, str(path))
        for number, path in enumerate(sorted(folder.glob("chunk-*")))
    ]
    harmful = submit("sifting", "sifting", sifting, str(folder / "scores"))
    carried = submit("merge", "merge", merge, *chunks)
    results = {}
    for number, people in enumerate(populations(shape)):
        for task in (overlap, frequency):
            name = f"{task.__name__} {number}"
            results[name] = submit(task.__name__, name, task, carried, harmful, people)
    return results


def populations(shape: Shape) -> list[Counts]:
    """The people of each."""
    return np.array_split(np.arange(shape.people), shape.populations)


def by_value(pool: Executor, store: SharedStore, startup_s: float) -> tuple[Submit, list[Any]]:
    """Wait for the inputs of a task, then submit it with them."""
    return _in_stages(pool, startup_s, lambda function: function)


def by_proxy(pool: Executor, store: SharedStore, startup_s: float) -> tuple[Submit, list[Any]]:
    """Wait for the inputs of a task, then submit it with proxies of them."""
    url = store.connector.url
    return _in_stages(pool, startup_s, lambda function: partial(_stored, url, function))


def by_future(pool: Executor, store: SharedStore, startup_s: float) -> tuple[Submit, list[Any]]:
    """Submit a task at once, with proxies of what its inputs will be."""
    tasks: list[Any] = []

    def submit(stage: str, task: str, function: Callable[..., Any], *inputs: Any) -> Any:
        result = futures.future(store)
        given = [i.proxy(timeout=60) if isinstance(i, futures.Future) else i for i in inputs]
        tasks.append(pool.submit(_produced, result, stage, task, startup_s, function, *given))
        return result

    return submit, tasks


def _in_stages(
    pool: Executor, startup_s: float, wrapped: Callable[..., Any]
) -> tuple[Submit, list[Any]]:
    tasks: list[Any] = []

    def submit(stage: str, task: str, function: Callable[..., Any], *inputs: Any) -> Any:
        given = [i.result()[1] if isinstance(i, Future) else i for i in inputs]
        tasks.append(pool.submit(worked, stage, task, startup_s, wrapped(function), *given))
        return tasks[-1]

    return submit, tasks


def _stored(url: str, function: Callable[..., Any], *inputs: Any) -> Any:
    return opened(url).proxy(function(*inputs))


def _produced(result: futures.Future[Any], *task: Any) -> tuple[Span, None]:
    with result.producing():
        span, value = worked(*task)
        result.set_result(value)
    return span, None


# --- The miniature ----------------------------------------------------------------


class Genomes(Miniature):
    """See the module."""

    name = "genomes"
    title = "1000 Genomes, miniature: tasks that start before their inputs exist"
    ways = ("by value", "by proxy", "futures")
    _submits = (by_value, by_proxy, by_future)

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._shape = TINY if options.tiny else FULL
        self._startup_s = options.startup
        self._folder = folder
        _write_input(folder, self._shape, options.seed)

    @property
    def workers(self) -> int:
        """As many as there are tasks, since all of them may wait at once."""
        return self._shape.chunks + 2 + 2 * self._shape.populations

    def expected(self) -> dict[str, list[int]]:
        def at_once(stage: str, task: str, function: Callable[..., Any], *inputs: Any) -> Any:
            return function(*inputs)

        return _plain(workflow(at_once, self._folder, self._shape))

    def run(
        self, way: str, pool: Executor, store: SharedStore
    ) -> tuple[Run, dict[str, list[int]]]:
        submit, tasks = self._submits[self.ways.index(way)](pool, store, self._startup_s)
        with Watch(way, store) as watch:
            results = workflow(submit, self._folder, self._shape)
            wait(tasks)
            watch.run.spans = [task.result()[0] for task in tasks]
            found = dict(_gathered(results))
        return watch.run, _plain(found)


def _gathered(results: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, result in results.items():
        value = result.result()
        yield name, value[1] if isinstance(result, Future) else value


def _plain(results: dict[str, Any]) -> dict[str, list[int]]:
    return {name: [int(count) for count in counts] for name, counts in results.items()}


def _write_input(folder: Path, shape: Shape, seed: int) -> None:
    draw = np.random.default_rng(seed)
    for number in range(shape.chunks):
        # Most variants are rare.
        often = draw.beta(0.2, 2.0, (shape.variants, 1, 1))
        copies = draw.random((shape.variants, shape.people, 2), np.float32) < often
        cells = np.empty((shape.variants, shape.people, 4), np.uint8)
        cells[:, :, 0::2] = copies + np.uint8(ord("0"))
        cells[:, :, 1], cells[:, :, 3] = ord("|"), ord("\t")
        cells[:, -1, 3] = ord("\n")
        header = f"{shape.people} {shape.variants}\n".encode()
        (folder / f"chunk-{number:02}").write_bytes(header + cells.tobytes())
    np.savetxt(folder / "scores", draw.random(shape.chunks * shape.variants), fmt="%.4f")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--startup", type=float, default=0.5, metavar="SECONDS", help="of each task (default: 0.5)"
    )


if __name__ == "__main__":
    sys.exit(main(Genomes, __doc__, _options))
