"""kill -9 before each thing that a process says to a real broker."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest

from proxystore_patterns.errors import ProducersLostError, StreamTimeoutError
from proxystore_patterns.streams import StreamConsumer, StreamProducer
from proxystore_patterns.streams.brokers.redis import (
    RedisGroupSubscriber,
    RedisQueuePublisher,
    RedisQueueSubscriber,
    RedisStreamPublisher,
    RedisStreamSubscriber,
)

pytestmark = pytest.mark.slow

# Forks a child for each line, which kills `pid` (itself if 0) at one of its sends, and says
# what it had used, and whether it lived to its end.
FORKING = """
import os, signal, socket, sys
from proxystore_patterns.streams import StreamConsumer, StreamProducer
{imports}

said = 0

def killing(send, step, pid):
    def send_and_kill(self, data, *flags):
        global said
        said += 1
        if said == step:
            os.kill(pid or os.getpid(), signal.SIGKILL)
        return send(self, data, *flags)
    return send_and_kill

for line in sys.stdin:
    step, pid, topic = line.split()
    child = os.fork()
    if not child:
        for name in ("send", "sendall"):
            send = killing(getattr(socket.socket, name), int(step), int(pid))
            setattr(socket.socket, name, send)
        {program}
        print(said, flush=True)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    print("lived" if status == 0 else "killed", flush=True)
"""

PRODUCE = """
        with StreamProducer({publisher}) as producer:
            for number in range(3):
                producer.send(topic, number)
"""

CONSUME = """
        for number in StreamConsumer({subscriber}, timeout=20).iter_objects():
            os.write(1, f"{{number}}\\n".encode())
"""


@pytest.fixture
def forking() -> Iterator[Callable[..., Any]]:
    """Starts a process that forks children; gives a call that runs one."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, imports: str) -> Callable[..., list[str]]:
        source = FORKING.format(program=program.strip(), imports=imports)
        process = subprocess.Popen(
            [sys.executable, "-c", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)

        def run(step: int, topic: str, pid: int = 0) -> list[str]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{step} {pid} {topic}\n")
            process.stdin.flush()
            said = [process.stdout.readline().strip()]
            while said[-1] not in {"lived", "killed"}:
                assert said[-1], "the process ended"
                said.append(process.stdout.readline().strip())
            return said

        return run

    yield start
    for process in started:
        process.kill()
        process.communicate()


NEVER = 10**9
REDIS = "from proxystore_patterns.streams.brokers import redis as broker"
RABBITMQ = "from proxystore_patterns.streams.brokers import rabbitmq as broker"


@pytest.mark.parametrize("kind", ["list", "stream", "rabbitmq"])
def test_a_killed_producer_leaves_its_consumers_the_end_or_a_loss(
    request: pytest.FixtureRequest, forking: Any, kind: str
) -> None:
    if kind == "rabbitmq":
        broker = pytest.importorskip("proxystore_patterns.streams.brokers.rabbitmq")
        url = request.getfixturevalue("rabbitmq_server").url
        made, imports, wait_s = f"broker.RabbitMQPublisher({url!r})", RABBITMQ, 1.0

        def subscribe(topic: str) -> Any:
            return broker.RabbitMQSubscriber(url, topic)

    else:
        place = request.getfixturevalue("redis_server").place
        publisher, subscriber = {
            "list": (RedisQueuePublisher, RedisQueueSubscriber),
            "stream": (RedisStreamPublisher, RedisStreamSubscriber),
        }[kind]
        made, imports, wait_s = f"broker.{publisher.__name__}(*{place}, lease=0.1)", REDIS, 0.3

        def subscribe(topic: str) -> Any:
            return subscriber(*place, topic)

    run = forking(PRODUCE.format(publisher=made), imports)
    *_, sends, fate = run(NEVER, f"{kind}-lives")
    assert fate == "lived"
    # From the last to the first, until nobody knew of it yet.
    for step in range(int(sends), 0, -1):
        topic = f"{kind}-killed{step}"
        consumer = StreamConsumer[int](subscribe(topic), timeout=wait_s)
        assert run(step, topic) == ["killed"]
        found: list[int] = []
        try:
            for number in consumer:
                found.append(number)
        except ProducersLostError:
            pass
        except StreamTimeoutError:
            assert [] == found
            break
        else:
            assert [0, 1, 2] == found
        finally:
            consumer.close()
        assert list(range(len(found))) == found


@pytest.mark.parametrize("kind", ["group", "rabbitmq"])
def test_what_a_killed_member_was_given_and_did_not_acknowledge_another_one_gets(
    request: pytest.FixtureRequest, forking: Any, kind: str
) -> None:
    if kind == "rabbitmq":
        broker = pytest.importorskip("proxystore_patterns.streams.brokers.rabbitmq")
        url = request.getfixturevalue("rabbitmq_server").url
        made, imports = f"broker.RabbitMQSubscriber({url!r}, topic)", RABBITMQ
        publisher: Any = broker.RabbitMQPublisher(url)

        def subscribe(topic: str) -> Any:
            return broker.RabbitMQSubscriber(url, topic)

    else:
        place = request.getfixturevalue("redis_server").place
        options = "group='g', redeliver_after=0.1"
        made, imports = f"broker.RedisGroupSubscriber(*{place}, topic, {options})", REDIS
        publisher = RedisStreamPublisher(*place)

        def subscribe(topic: str) -> Any:
            return RedisGroupSubscriber(*place, topic, group="g", redeliver_after=0.1)

    run = forking(CONSUME.format(subscriber=made), imports)

    def kill_at(step: int) -> list[str]:
        topic = f"{kind}-member-killed{step}"
        survivor = StreamConsumer[int](subscribe(topic), timeout=20)
        producer = StreamProducer[int](publisher)
        for number in range(3):
            producer.send(topic, number)
        producer.close(publisher=False)
        *used, fate = run(step, topic)
        sends = [used.pop()] if fate == "lived" else []
        found = list(survivor)
        survivor.close()
        assert {0, 1, 2} == {*map(int, used), *found}
        assert len(found) == len(set(found))
        return sends or used

    (sends,) = kill_at(NEVER)
    # From the last to the first, until it had used nothing, and then what it may have been given.
    unused = 0
    for step in range(int(sends), 0, -1):
        unused += not kill_at(step)
        if unused == 3:
            break
    publisher.close()


def test_a_server_that_is_killed_at_any_step_of_a_producer_loses_nothing(
    start_redis: Any, forking: Any
) -> None:
    server = start_redis("--appendonly", "yes")
    made = f"broker.RedisStreamPublisher(*{server.place})"
    run = forking(PRODUCE.format(publisher=made), REDIS)
    for step in itertools.count(1):
        topic = f"server-killed{step}"
        pid = server.process.pid
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(run, step, topic, pid)
            while not running.done():
                if server.process.poll() is not None:
                    server.kill()
                    server.start()
                wait([running], 0.02)
        assert running.result()[-1] == "lived"
        with StreamConsumer[int](RedisStreamSubscriber(*server.place, topic), timeout=20) as found:
            assert [0, 1, 2] == list(found)
        if server.process.pid == pid:
            break
