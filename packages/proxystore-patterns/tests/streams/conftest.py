"""Real brokers for the tests, each on the loopback and ended by its process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxystore.store import Store
from proxystore_patterns.streams import Publisher, StreamConsumer, Subscriber
from proxystore_patterns.streams.brokers.queue import QueuePublisher, QueueSubscriber
from proxystore_patterns.testing import Broker


def program(name: str, service: str) -> str:
    """Where a server's program is; skips the test if it is not installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        why = f"{name} is not installed (ci/services {service} installs it)"
        if os.environ.get("PROXYSTORE_REQUIRE_SERVICES"):
            pytest.fail(why)
        pytest.skip(why)
    return found


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives ports of the loopback that nobody listens on."""

    def find() -> int:
        with socket.create_server(("127.0.0.1", 0)) as server:
            found: int = server.getsockname()[1]
            return found

    return find


@pytest.fixture
def store() -> Iterator[Store[Any]]:
    with Store("streams") as made:
        yield made


@pytest.fixture
def topic_queue() -> queue.Queue[bytes]:
    return queue.Queue()


@pytest.fixture
def publisher(topic_queue: queue.Queue[bytes]) -> QueuePublisher:
    """Of the topic ``t``."""
    return QueuePublisher({"t": topic_queue})


@pytest.fixture
def consumer(topic_queue: queue.Queue[bytes]) -> StreamConsumer[Any]:
    """Of the topic ``t``."""
    return StreamConsumer(QueueSubscriber(topic_queue), timeout=5)


class QueueBroker(Broker):
    """Queues of this process, or of `ProcessQueue`, made as topics are used."""

    def __init__(self, make_queue: Callable[[], Any]) -> None:
        super().__init__()
        self._make_queue = make_queue
        self._queues: dict[str, Any] = {}

    def topic(self) -> str:
        topic = super().topic()
        self._queues[topic] = self._make_queue()
        return topic

    def make_publisher(self) -> Publisher:
        return QueuePublisher(self._queues)

    def make_subscriber(self, topic: str) -> Subscriber:
        return QueueSubscriber(self._queues[topic])


class GroupBroker(Broker):
    """Streams of a Redis server, with one group for each topic."""

    def __init__(self, place: tuple[str, int]) -> None:
        super().__init__()
        self._place = place

    def make_publisher(self) -> Publisher:
        from proxystore_patterns.streams.brokers.redis import RedisStreamPublisher

        return RedisStreamPublisher(*self._place)

    def make_subscriber(self, topic: str) -> Subscriber:
        from proxystore_patterns.streams.brokers.redis import RedisGroupSubscriber

        return RedisGroupSubscriber(
            *self._place, topic, group="g", redeliver_after=0.1, max_deliveries=2
        )

    def make_dead_letter_subscriber(self, topic: str) -> Subscriber:
        from proxystore_patterns.streams.brokers.redis import RedisStreamSubscriber

        return RedisStreamSubscriber(*self._place, f"{topic}:dead:g")


class StreamBroker(Broker):
    """Streams of a Redis server, read by each subscriber for itself."""

    def __init__(self, place: tuple[str, int]) -> None:
        super().__init__()
        self._place = place

    def make_publisher(self) -> Publisher:
        from proxystore_patterns.streams.brokers.redis import RedisStreamPublisher

        return RedisStreamPublisher(*self._place)

    def make_subscriber(self, topic: str) -> Subscriber:
        from proxystore_patterns.streams.brokers.redis import RedisStreamSubscriber

        return RedisStreamSubscriber(*self._place, topic)

    def make_next_subscriber(self, topic: str) -> Subscriber:
        from proxystore_patterns.streams.brokers.redis import RedisStreamSubscriber

        return RedisStreamSubscriber(*self._place, topic, start="$")


@pytest.fixture
def queue_broker() -> Iterator[Broker]:
    made = QueueBroker(queue.Queue)
    yield made
    made.close()


@pytest.fixture
def process_queue_broker() -> Iterator[Broker]:
    from proxystore_patterns.streams.brokers.queue import ProcessQueue

    made = QueueBroker(ProcessQueue)
    yield made
    made.close()


@pytest.fixture
def group_broker(redis_server: Any) -> Iterator[Broker]:
    made = GroupBroker(redis_server.place)
    yield made
    made.close()


@pytest.fixture
def stream_broker(redis_server: Any) -> Iterator[Broker]:
    made = StreamBroker(redis_server.place)
    yield made
    made.close()


# --- RabbitMQ ---------------------------------------------------------------------

_RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"


class RabbitMQServer:
    """A RabbitMQ node of its own, with its own epmd, all on the loopback."""

    def __init__(self, folder: Path, free_port: Callable[[], int]) -> None:
        program("rabbitmq-server", "rabbitmq")
        # The script on the PATH changes the user; this is what it runs.
        assert Path(_RABBITMQ).exists(), f"no {_RABBITMQ}: is this RabbitMQ Debian's?"
        self.folder, self.port = folder, free_port()
        epmd_port = str(free_port())
        for name in ("home", "data", "log"):
            (folder / name).mkdir()
        (folder / "env.conf").touch()
        (folder / "plugins").write_text("[].")
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        self.environment = {
            **os.environ,
            "HOME": str(folder / "home"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": epmd_port,
            "RABBITMQ_NODENAME": f"ps{self.port}@localhost",
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1"
            ),
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.epmd = subprocess.Popen(
            [program("epmd", "rabbitmq"), "-port", epmd_port, "-address", "127.0.0.1"],
            env=self.environment,
        )
        self.start()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        with (self.folder / "out").open("ab") as out:
            self.process = subprocess.Popen(
                [_RABBITMQ],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        deadline = time.monotonic() + 90
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "out").read_text()
            assert time.monotonic() < deadline, "rabbitmq-server did not start"
            time.sleep(0.1)

    def _answers(self) -> bool:
        place = ("127.0.0.1", self.port)
        with contextlib.suppress(OSError), socket.create_connection(place, 1) as probe:
            probe.sendall(b"AMQP\0\0\x09\1")
            return probe.recv(1) == b"\1"
        return False

    def kill(self) -> None:
        """kill -9 of the node: a shell and what it started, which are a group of their own."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self.kill()
        self.epmd.terminate()
        self.epmd.wait()


@pytest.fixture(scope="session")
def rabbitmq_server(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[RabbitMQServer]:
    """A node that tests share: each uses topics of its own. Takes some 5 s to start."""
    server = RabbitMQServer(tmp_path_factory.mktemp("rabbitmq"), free_port)
    yield server
    server.close()


# --- Kafka ------------------------------------------------------------------------


_REBALANCE_MS = 50


def _mock_cluster(library: Path) -> str:
    """Starts the mock cluster by its own interface: `test.mock.num.brokers` has no
    setting for how long a group waits for its first members, which is 3 s."""
    mock = ctypes.CDLL(str(library))
    pointer = ctypes.c_void_p
    mock.rd_kafka_conf_new.restype = pointer
    mock.rd_kafka_new.restype = pointer
    mock.rd_kafka_new.argtypes = [ctypes.c_int, pointer, ctypes.c_char_p, ctypes.c_size_t]
    mock.rd_kafka_mock_cluster_new.restype = pointer
    mock.rd_kafka_mock_cluster_new.argtypes = [pointer, ctypes.c_int]
    mock.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    mock.rd_kafka_mock_cluster_bootstraps.argtypes = [pointer]
    delay = mock.rd_kafka_mock_group_initial_rebalance_delay_ms
    delay.argtypes, delay.restype = [pointer, ctypes.c_int32], None
    home = mock.rd_kafka_new(0, mock.rd_kafka_conf_new(), ctypes.create_string_buffer(512), 512)
    cluster = mock.rd_kafka_mock_cluster_new(home, 1)
    delay(cluster, _REBALANCE_MS)
    found: bytes = mock.rd_kafka_mock_cluster_bootstraps(cluster)
    return found.decode()


@pytest.fixture(scope="session")
def kafka_mock() -> str:
    """The address of librdkafka's built-in mock cluster, which speaks the real protocol.

    It lives in this process, until it ends, and listens on the loopback for others.
    """
    client = pytest.importorskip("confluent_kafka", reason="confluent-kafka is missing")
    beside = Path(client.__file__).parent.parent / "confluent_kafka.libs"
    library = next(beside.glob("librdkafka*"), None)
    if library is None:
        pytest.skip("this build of confluent-kafka has its librdkafka elsewhere")
    return _mock_cluster(library)
