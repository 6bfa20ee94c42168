"""A miniature of DeepDriveMD: what streams are worth.

An ensemble of short simulations of a small molecule explores its shapes. After each round a
model learns which shapes are common (training), and the next round starts from the shapes that
the model reproduces worst (inference). The molecule is a chain of beads that moves at random
from the seed; simulation, training and inference compute what they say. Two ways of running it
give the same result:

- by value: inference is a task for each simulation, submitted with the model and all shapes
  once that is over;
- streams: simulations send shapes part by part to one inference task, which lasts as long as
  the workflow does. Shapes go by a store in shared memory, events through a queue.

Each task begins with a start-up that needs no input, such as imports from a parallel file
system or a place on an accelerator. It is the one thing that is waited for and not computed.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Isolated Python leaves out the directory of its script.
sys.path.insert(0, str(Path(__file__).parent))

from measuring import Run, Watch
from program import Miniature, main
from tasks import Span, given, opened, worked

from proxystore.connectors.shm import ShmConnector
from proxystore.store import Store
from proxystore_patterns.streams import StreamConsumer, StreamProducer
from proxystore_patterns.streams.brokers.queue import (
    ProcessQueue,
    QueuePublisher,
    QueueSubscriber,
)

__all__ = ["DeepDrive"]

# Any throughout: tasks take values in one way and topics in another.
Floats = NDArray[np.float32]
# Of models: in single precision, how arrays lie in memory would change what is chosen.
Doubles = NDArray[np.float64]

_BEADS, _BOND, _STEP, _HEAT = 16, 1.0, 0.01, 0.4
_COMPONENTS, _EVERY = 8, 16
_TOPICS = ("shapes", "models", "scores")
_WAIT_S = 60.0


class Shape(NamedTuple):
    """How much there is of everything."""

    rounds: int
    simulations: int
    """In each round."""
    parts: int
    """Of a simulation."""
    walkers: int
    """Chains that a simulation moves."""
    frames: int
    """Times that a part keeps the shapes of all walkers."""


FULL = Shape(rounds=4, simulations=4, parts=4, walkers=80, frames=8)
TINY = Shape(rounds=2, simulations=2, parts=2, walkers=8, frames=8)


class Model(NamedTuple):
    """What shapes are made of: a mean and the main directions around it."""

    mean: Doubles
    directions: Doubles


class Scores(NamedTuple):
    """Of one part: the shapes that the model reproduces worst, and a sample of all."""

    errors: Doubles
    worst: Floats
    sample: Doubles


# --- Computations -----------------------------------------------------------------


def simulate(starts: Floats, seed: list[int], shape: Shape) -> Iterator[Floats]:
    """The shapes of each part: (frames x walkers, beads, 3), from ``starts``."""
    draw = np.random.default_rng(seed)
    places = starts[np.arange(shape.walkers) % len(starts)].copy()
    for _ in range(shape.parts):
        kept = []
        for _ in range(shape.frames):
            for _ in range(2):
                noise = draw.standard_normal(places.shape, np.float32)
                places += _STEP * _forces(places) + np.float32(_HEAT * _STEP**0.5) * noise
            kept.append(places.copy())
        yield np.concatenate(kept)


def _forces(places: Floats) -> Floats:
    """Of bonds that keep neighbours at a distance, and of beads that push each other away."""
    apart = places[:, :, None] - places[:, None]
    squares = (apart**2).sum(axis=-1, keepdims=True) + np.float32(0.1)
    forces: Floats = (apart * np.exp(-squares)).sum(axis=2) * np.float32(4)
    bonds = np.diff(places, axis=1)
    lengths = np.sqrt((bonds**2).sum(axis=-1, keepdims=True)) + np.float32(1e-6)
    pull = bonds * (np.float32(20) * (lengths - _BOND) / lengths)
    forces[:, :-1] += pull
    forces[:, 1:] -= pull
    return forces


def infer(model: Model, shapes: Floats) -> Scores:
    """Which of ``shapes`` the model reproduces worst."""
    first, second = np.triu_indices(_BEADS, 1)
    apart = (shapes[:, first] - shapes[:, second]).astype(np.float64)
    contacts = np.sqrt((apart**2).sum(axis=-1))
    centred = contacts - model.mean
    errors = ((centred - centred @ model.directions.T @ model.directions) ** 2).sum(axis=1)
    worst = np.argsort(errors, kind="stable")[::-1][:_COMPONENTS]
    return Scores(errors[worst], shapes[worst], contacts[::_EVERY])


def train(samples: list[Doubles]) -> Model:
    """The model of what was sampled."""
    contacts = np.concatenate(samples)
    mean = contacts.mean(axis=0)
    directions = np.linalg.svd(contacts - mean, full_matrices=False)[2][:_COMPONENTS]
    return Model(mean, directions)


def untrained() -> Model:
    """Knows nothing."""
    n_contacts = _BEADS * (_BEADS - 1) // 2
    return Model(np.zeros(n_contacts), np.zeros((1, n_contacts)))


def chosen(scores: list[Scores], shape: Shape) -> Floats:
    """Where the next round starts."""
    errors = np.concatenate([each.errors for each in scores])
    worst = np.concatenate([each.worst for each in scores])
    return worst[np.sort(np.argsort(errors, kind="stable")[::-1][: shape.walkers // 2])]


# --- By value -----------------------------------------------------------------------


class Workflow(ABC):
    """Rounds of simulation, inference and training.

    Args:
        shape: How much there is.
        seed: Of all that is random.
        startup_s: Of each task.
    """

    def __init__(self, shape: Shape, seed: int, startup_s: float) -> None:
        self.shape, self.seed, self.startup_s = shape, seed, startup_s
        self.spans: list[Span] = []

    def results(self) -> list[float]:
        """The error of the shape worst reproduced in each round."""
        line = np.zeros((1, _BEADS, 3), np.float32)
        line[0, :, 0] = np.arange(_BEADS)
        starts, found = line, []
        for number in range(self.shape.rounds):
            scores = self.scores(number, starts)
            found.append(round(float(max(each.errors[0] for each in scores)), 6))
            starts = chosen(scores, self.shape)
            if number < self.shape.rounds - 1:
                self.learn([each.sample for each in scores])
        return found

    @abstractmethod
    def scores(self, number: int, starts: Floats) -> list[Scores]:
        """Of each part of each simulation of a round, in order."""

    @abstractmethod
    def learn(self, samples: list[Doubles]) -> None:
        """Train the model of the next round."""

    def seeds(self, number: int) -> list[list[int]]:
        """Of the simulations of a round."""
        return [[self.seed, number, each] for each in range(self.shape.simulations)]


class AtOnce(Workflow):
    """In this process, which says what is right."""

    def __init__(self, shape: Shape, seed: int) -> None:
        super().__init__(shape, seed, 0.0)
        self._model = untrained()

    def scores(self, number: int, starts: Floats) -> list[Scores]:
        return [
            infer(self._model, part)
            for seed in self.seeds(number)
            for part in simulate(starts, seed, self.shape)
        ]

    def learn(self, samples: list[Doubles]) -> None:
        self._model = train(samples)


class ByValue(Workflow):
    """A task for each step, and data through the pool."""

    def __init__(self, shape: Shape, seed: int, startup_s: float, pool: Executor) -> None:
        super().__init__(shape, seed, startup_s)
        self._pool = pool
        self._model: Model | Future[Any] = untrained()

    def scores(self, number: int, starts: Floats) -> list[Scores]:
        simulations = [
            self._task("simulation", f"{seed}", _all_parts, starts, seed, self.shape)
            for seed in self.seeds(number)
        ]
        if isinstance(self._model, Future):
            self._model = self._result(self._model)
        inferences = [
            self._task("inference", f"{number}", _infer_parts, self._model, self._result(each))
            for each in simulations
        ]
        return [scores for each in inferences for scores in self._result(each)]

    def learn(self, samples: list[Doubles]) -> None:
        self._model = self._task("training", "training", train, samples)

    def _task(self, stage: str, name: str, *call: Any) -> Future[Any]:
        return self._pool.submit(worked, stage, name, self.startup_s, *call)

    def _result(self, task: Future[Any]) -> Any:
        span, result = task.result()
        self.spans.append(span)
        return result


def _all_parts(starts: Floats, seed: list[int], shape: Shape) -> list[Floats]:
    return list(simulate(starts, seed, shape))


def _infer_parts(model: Model, parts: list[Floats]) -> list[Scores]:
    return [infer(model, part) for part in parts]


# --- By streams ---------------------------------------------------------------------


class Streams(Workflow):
    """One inference task for all rounds, and data by streams."""

    def __init__(
        self,
        shape: Shape,
        seed: int,
        startup_s: float,
        pool: Executor,
        store: Store[ShmConnector],
        queues: dict[str, ProcessQueue],
    ) -> None:
        super().__init__(shape, seed, startup_s)
        self._pool, self._url = pool, store.connector.url
        self._scores: StreamConsumer[Any] = StreamConsumer(
            QueueSubscriber(queues["scores"]), timeout=_WAIT_S
        )
        self._tasks: list[Future[Any]] = [pool.submit(_infer_stream, self._url, startup_s)]

    def scores(self, number: int, starts: Floats) -> list[Scores]:
        for seed in self.seeds(number):
            call = (self._url, starts, seed, self.shape)
            self._task("simulation", f"{seed}", _simulate_to_stream, *call)
        n_parts = self.shape.simulations * self.shape.parts
        found = itertools.islice(self._scores.iter_objects_with_metadata(), n_parts)
        ordered = sorted(found, key=lambda each: (each[0]["simulation"], each[0]["part"]))
        return [Scores(*scores) for _, scores in ordered]

    def learn(self, samples: list[Doubles]) -> None:
        self._task("training", "training", _train_to_stream, self._url, samples, self.shape)

    def results(self) -> list[float]:
        found = super().results()
        for task in self._tasks:
            spans, _ = task.result()
            self.spans += spans if isinstance(spans, list) else [spans]
        return found

    def _task(self, stage: str, name: str, *call: Any) -> None:
        self._tasks.append(self._pool.submit(worked, stage, name, self.startup_s, *call))


def _producer(url: str, producers: int) -> StreamProducer[Any]:
    publisher = QueuePublisher(dict(zip(_TOPICS, given(), strict=True)))
    return StreamProducer(publisher, default_store=opened(url), producers=producers)


def _consumer(topic: str) -> StreamConsumer[Any]:
    return StreamConsumer(QueueSubscriber(given()[_TOPICS.index(topic)]), timeout=_WAIT_S)


def _simulate_to_stream(url: str, starts: Floats, seed: list[int], shape: Shape) -> None:
    # The topic ends with the last simulation of the last round.
    with _producer(url, shape.rounds * shape.simulations) as producer:
        producer.open_topics("shapes")
        for number, part in enumerate(simulate(starts, seed, shape)):
            where = {"round": seed[1], "simulation": seed[2], "part": number}
            producer.send("shapes", part, metadata=where)


def _train_to_stream(url: str, samples: list[Doubles], shape: Shape) -> None:
    with _producer(url, shape.rounds - 1) as producer:
        producer.send("models", tuple(train(samples)))


def _infer_stream(url: str, startup_s: float) -> tuple[list[Span], None]:
    """Score parts as they come; a span for each."""
    spans = []
    model, of_round = untrained(), 0
    begun = time.monotonic()
    models = _consumer("models")
    with _consumer("shapes") as shapes, _producer(url, 1) as producer:
        time.sleep(startup_s)
        started = time.monotonic()
        for where, part in shapes.iter_objects_with_metadata():
            if where["round"] != of_round:
                model, of_round = Model(*models.next_object()), where["round"]
            span, scores = worked("inference", f"{where}", 0.0, infer, model, part)
            spans.append(span._replace(begun=begun, started=started))
            begun = started = span.ended
            producer.send("scores", tuple(scores), metadata=where)
    return spans, None


# --- The miniature ----------------------------------------------------------------------


class DeepDrive(Miniature):
    """See the module."""

    name = "deepdrive"
    title = "DeepDriveMD, miniature: inference that lasts, fed by streams"
    ways = ("by value", "streams")

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._shape = TINY if options.tiny else FULL
        self._seed, self._startup_s = options.seed, options.startup

    @property
    def workers(self) -> int:
        """For the simulations of a round, training and inference."""
        return self._shape.simulations + 2

    def handed(self, context: BaseContext) -> tuple[ProcessQueue, ...]:
        self._queues = {topic: ProcessQueue(context=context) for topic in _TOPICS}
        return tuple(self._queues.values())

    def expected(self) -> list[float]:
        return AtOnce(self._shape, self._seed).results()

    def run(
        self, way: str, pool: Executor, store: Store[ShmConnector]
    ) -> tuple[Run, list[float]]:
        settings = (self._shape, self._seed, self._startup_s, pool)
        with Watch(way, store) as watch:
            workflow = (
                ByValue(*settings) if way == "by value" else Streams(*settings, store, self._queues)
            )
            found = workflow.results()
            watch.run.spans = workflow.spans
        return watch.run, found


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--startup", type=float, default=0.5, metavar="SECONDS", help="of each task (default: 0.5)"
    )


if __name__ == "__main__":
    sys.exit(main(DeepDrive, __doc__, _options))
