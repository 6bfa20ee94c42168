"""Futures between processes that are real, and are killed."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxystore.abc import Capability
from proxystore.connectors.file import FileConnector
from proxystore.errors import ConnectorUnavailableError, MediumGoneError
from proxystore.store import Store
from proxystore_patterns.errors import ProducerDiedError
from proxystore_patterns.futures import Future, _watching, as_completed, future

TIMEOUT_S = 30
LEASE_S = 0.6

Run = Callable[..., Any]


@pytest.fixture(params=["shm", "redis"])
def store(request: pytest.FixtureRequest, make_store: Callable[..., Store[Any]]) -> Store[Any]:
    return make_store(request.param)


_PRODUCE = f"""
import time
with given.producing(lease={LEASE_S}):
    say("begun")
    sys.stdin.readline()
    given.set_result("late")
say("set")
sys.stdin.readline()
"""


def test_a_consumer_that_came_first_gets_the_result(store: Store[Any], run: Run) -> None:
    made = future(store)
    consumer = run("say('here'); say(int(given.sum()))", made.proxy(timeout=TIMEOUT_S))
    assert "here" == consumer.hear()
    producer = run("import numpy as np\ngiven.set_result(np.arange(100_000)); say('set')", made)
    assert "set" == producer.hear()
    assert sum(range(100_000)) == consumer.hear()


def test_an_exception_crosses_processes(store: Store[Any], run: Run) -> None:
    made = future(store)
    producer = run(
        "def work(): raise ValueError('over there')\n"
        "try:\n"
        "    with given.producing(): work()\n"
        "except ValueError: say('failed')",
        made,
    )
    assert "failed" == producer.hear()
    with pytest.raises(ValueError, match="over there") as caught:
        str(made.proxy())
    assert "in work" in caught.value.__notes__[0]


@pytest.mark.slow
def test_a_result_outlives_its_producer(store: Store[Any], run: Run) -> None:
    made = future(store)
    producer = run("given.set_result([1, 2]); say('set'); sys.stdin.readline()", made)
    assert "set" == producer.hear()
    producer.kill()
    assert [1, 2] == made.result(TIMEOUT_S)


@pytest.mark.slow
def test_a_producer_that_is_killed_fails_its_consumers(store: Store[Any], run: Run) -> None:
    made = future(store)
    called = threading.Event()
    producer = run(_PRODUCE, made)
    assert "begun" == producer.hear()
    consumer = run(
        "say('here')\ntry: str(given)\nexcept Exception as error: say(error)", made.proxy()
    )
    assert "here" == consumer.hear()
    made.add_done_callback(lambda _: called.set())
    producer.kill()
    killed = time.monotonic()
    with pytest.raises(ProducerDiedError, match=f"process {producer.pid} on host"):
        made.result(TIMEOUT_S)
    assert time.monotonic() - killed < LEASE_S + 3
    assert called.wait(TIMEOUT_S)
    assert isinstance(consumer.hear(), ProducerDiedError)
    assert isinstance(pickle.loads(pickle.dumps(made)).exception(), ProducerDiedError)


@pytest.mark.slow
@pytest.mark.parametrize("medium", ["shm", "file", "redis"])
def test_hundreds_that_wait_are_told_of_a_producer_that_is_killed(
    make_store: Callable[..., Store[Any]], run: Run, medium: str
) -> None:
    store = make_store(medium)
    begun, never = [future(store) for _ in range(300)], [future(store) for _ in range(300)]
    code = (
        "blocks = [each.producing(lease=2) for each in given]\n"
        "for block in blocks: block.__enter__()\n"
        "say('begun'); sys.stdin.readline()"
    )
    producer = run(code, begun)
    assert "begun" == producer.hear()
    waiting = as_completed(begun + never, TIMEOUT_S)
    never[0].cancel()
    assert never[0] is next(waiting), "all are watched"
    producer.kill()
    told = set(itertools.islice(waiting, len(begun)))
    assert set(begun) == told
    assert {"ProducerDiedError"} == {type(each.exception()).__name__ for each in told}


class _UntoldConnector(FileConnector):
    """One whose directory does not tell, as on some network file systems."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities - {Capability.WAITABLE}


@pytest.mark.slow
def test_a_death_is_noticed_where_the_medium_tells_nothing(tmp_path: Path, run: Run) -> None:
    with Store("untold", _UntoldConnector(tmp_path / "objects")) as store:
        made = future(store)
        producer = run(_PRODUCE, made)
        assert "begun" == producer.hear()
        producer.kill()
        with pytest.raises(ProducerDiedError):
            made.result(TIMEOUT_S)


@pytest.mark.slow
def test_a_task_that_is_run_again_takes_over(
    make_store: Callable[..., Store[Any]], run: Run
) -> None:
    made, lease = future(make_store("redis")), 2.0
    # So long a lease because the test ends it at no time: a busy machine is no death.
    code = _PRODUCE.replace(f"lease={LEASE_S}", f"lease={lease}")
    first = run(code, made)
    assert "begun" == first.hear()
    first.kill()
    second = run(code, made)
    assert "begun" == second.hear()
    with pytest.raises(TimeoutError, match="at work"):
        # It renews its lease.
        made.result(lease + 0.5)
    second.tell()
    assert "late" == made.result(TIMEOUT_S)


@pytest.mark.slow
def test_a_producer_that_was_declared_dead_is_told(store: Store[Any], run: Run) -> None:
    made = future(store)
    producer = run(_PRODUCE.replace("given.set_result", "time.sleep(0.01); given.set_result"), made)
    assert "begun" == producer.hear()
    producer.signal(signal.SIGSTOP)
    with pytest.raises(ProducerDiedError):
        made.result(TIMEOUT_S)
    producer.signal(signal.SIGCONT)
    producer.tell()
    assert producer.wait() != 0, "it raised FutureAlreadyDoneError"
    with pytest.raises(ProducerDiedError):
        made.result(TIMEOUT_S)


@pytest.mark.slow
def test_a_consumer_that_is_killed_takes_nothing_from_others(store: Store[Any], run: Run) -> None:
    made = future(store)
    consumers = [run("say('here'); say(list(given))", made.proxy()) for _ in range(2)]
    for consumer in consumers:
        assert "here" == consumer.hear()
    consumers[0].kill()
    made.set_result([1])
    assert [1] == consumers[1].hear()
    assert [1] == made.result(TIMEOUT_S)


_STEPS = ("touch alive", "set alive", "set begun", "set result", "evict begun", "evict alive")


def _killed_at(step: int, after: bool, made: Future[Any]) -> int:
    """A child that produces the result and is killed before or after a call of its connector."""
    child = os.fork()
    if child:
        return child
    try:
        connector, calls = made.store.connector, itertools.count()

        def dying(call: Callable[..., Any]) -> Callable[..., Any]:
            def called(*args: Any, **options: Any) -> Any:
                number = next(calls)
                if number == step and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                answer = call(*args, **options)
                if number == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return answer

            return called

        for name in ("touch", "set", "evict"):
            setattr(connector, name, dying(getattr(connector, name)))
        with made.producing(lease=LEASE_S):
            made.set_result("set")
    finally:
        os._exit(0)


@pytest.mark.slow
def test_a_producer_may_be_killed_at_any_step(store: Store[Any]) -> None:
    found: dict[tuple[str, bool], str] = {}
    futures = {(step, after): future(store) for step in _STEPS for after in (False, True)}
    for (step, after), made in futures.items():
        os.waitpid(_killed_at(_STEPS.index(step), after, made), 0)
    named = {made: name for name, made in futures.items()}
    expected = ["never begun"] * 5 + ["ProducerDiedError"] * 2 + ["set"] * 5
    for made in itertools.islice(as_completed(named, TIMEOUT_S), 7):
        error = made.exception()
        found[named[made]] = made.result() if error is None else type(error).__name__
    assert not any(made.done() for made, name in named.items() if name not in found)
    assert expected == [found.get(name, "never begun") for name in futures]


@pytest.mark.slow
def test_waiting_keeps_no_interpreter(store: Store[Any], run: Run) -> None:
    waiter = run(
        "from proxystore_patterns.futures import future\n"
        "given.add_done_callback(print)\n"
        "produced = future(given.store)\n"
        "block = produced.producing()\n"
        "block.__enter__()\n"
        "say('waits')",
        future(store),
    )
    assert "waits" == waiter.hear()
    waiter.wait()


@pytest.mark.slow
def test_a_forked_child_waits_for_itself(store: Store[Any]) -> None:
    made, called = future(store), threading.Event()
    made.add_done_callback(lambda _: called.set())
    child = os.fork()
    if child == 0:
        try:
            other = future(store)
            threading.Timer(0.05, other.set_result, (1,)).start()
            (done,) = as_completed([other], TIMEOUT_S)
            made.set_result(done.result())
        finally:
            os._exit(0)
    assert called.wait(TIMEOUT_S)
    assert 1 == made.result()
    os.waitpid(child, 0)


@pytest.mark.slow
def test_a_server_that_is_gone_for_a_moment_ends_no_wait(own_redis_server: Any) -> None:
    from proxystore_connectors_redis import RedisConnector

    with RedisConnector("127.0.0.1", own_redis_server.port) as connector:
        made = future(Store("redis", connector))
        called = threading.Event()
        made.add_done_callback(lambda _: called.set())
        own_redis_server.kill()
        own_redis_server.start()
        made.set_result(1)
        assert called.wait(TIMEOUT_S)
        assert 1 == made.result(TIMEOUT_S)


@pytest.mark.slow
def test_a_server_that_is_lost_ends_every_wait(
    own_redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_watching, "_PATIENCE_SECONDS", 1.0)
    from proxystore_connectors_redis import RedisConnector

    connector = RedisConnector("127.0.0.1", own_redis_server.port, timeout=1)
    made = future(Store("redis", connector))
    called = threading.Event()
    made.add_done_callback(lambda _: called.set())
    own_redis_server.kill()
    for use in (lambda: made.result(TIMEOUT_S), lambda: str(made.proxy()), made.done):
        with pytest.raises(ConnectorUnavailableError):
            use()
    with pytest.raises(ConnectorUnavailableError):
        made.set_result(1)
    assert called.wait(TIMEOUT_S)


@pytest.mark.slow
@pytest.mark.parametrize("medium", ["shm", "file"])
def test_a_medium_that_its_owner_closed_ends_waits_elsewhere(
    make_store: Callable[..., Store[Any]], run: Run, medium: str
) -> None:
    store = make_store(medium)
    waiter = run(
        "say('here')\ntry: str(given)\nexcept Exception as error: say(error)",
        future(store).proxy(timeout=TIMEOUT_S),
    )
    assert "here" == waiter.hear()
    store.close()
    assert isinstance(waiter.hear(), MediumGoneError)


def test_arrays_come_without_a_copy_of_the_pickle(store: Store[Any], run: Run) -> None:
    made = future(store)
    made.set_result(np.zeros(1000))
    made.result()[:] = 1
    reader = run("say(float(given.sum()))", made.proxy())
    assert 0.0 == reader.hear()
