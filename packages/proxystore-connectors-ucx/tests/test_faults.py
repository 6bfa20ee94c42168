"""What happens when processes are killed, stopped or slow: an error that says so, never a hang."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from proxystore.errors import ConnectorUnavailableError, MediumGoneError
from proxystore.serving import Place
from proxystore_connectors_ucx import UCXConnector

LARGE = 64 << 20
Pid = Callable[[UCXConnector], int]


def ended(pid: int, within: float = 10.0) -> bool:
    """Whether a process that is not our child ends in time."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def stop(pid: int) -> None:
    """Stop a process, and return when none of its threads runs any more."""
    os.kill(pid, signal.SIGSTOP)
    while not all(
        task.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "T"
        for task in Path(f"/proc/{pid}/task").iterdir()
    ):
        time.sleep(0.002)


def kill_store(connector: UCXConnector, store_pid: Pid) -> None:
    pid = store_pid(connector)
    os.kill(pid, signal.SIGKILL)
    assert ended(pid)


@pytest.fixture
def client() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts processes that use a connector until they are killed."""
    started: list[subprocess.Popen[str]] = []

    def start(connector: UCXConnector, body: str) -> subprocess.Popen[str]:
        script = (
            "from proxystore_connectors_ucx import UCXConnector\n"
            f"c = UCXConnector.from_config({connector.config()!r})\n{body}"
        )
        process = subprocess.Popen(
            [sys.executable, "-Ic", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_objects_of_a_killed_store_process_are_reported_lost(
    connector: UCXConnector, store_pid: Pid
) -> None:
    key = connector.put(b"in memory")
    kill_store(connector, store_pid)
    with pytest.raises(MediumGoneError, match="died"):
        connector.get(key)


def test_a_put_starts_a_killed_store_process_anew(connector: UCXConnector, store_pid: Pid) -> None:
    connector.put(b"lost")
    kill_store(connector, store_pid)
    key = connector.put(bytes(LARGE))
    assert len(connector.get(key) or b"") == LARGE


@pytest.mark.parametrize("made_by", ["put", "new_key"])
def test_keys_of_a_killed_store_process_say_so_when_another_one_runs(
    connector: UCXConnector, store_pid: Pid, made_by: str
) -> None:
    lost = connector.new_key("name")
    if made_by == "put":
        lost = connector.put(b"lost")
    else:
        connector.set(lost, b"lost")
    kill_store(connector, store_pid)
    other = UCXConnector.from_config(connector.config())
    assert connector.exists(connector.put(b"kept"))
    for each in (connector, other):
        for use in (each.get, each.exists, each.wait, each.generation):
            with pytest.raises(MediumGoneError, match="died"):
                use(lost)
    fresh = connector.new_key("name")
    assert fresh != lost
    connector.set(fresh, b"stored again")
    assert other.get(fresh) == b"stored again"


def test_other_nodes_are_told_that_a_store_process_died(
    networked: UCXConnector, remote: Callable[..., UCXConnector], store_pid: Pid
) -> None:
    other, lost = remote(), networked.put(b"lost")
    assert other.get(lost) == b"lost"
    made = other.new_key("name")
    kill_store(networked, store_pid)
    key = networked.put(b"kept")
    with pytest.raises(MediumGoneError, match="died"):
        other.get(lost)
    with pytest.raises(MediumGoneError, match="died"):
        other.set(made, b"x")
    assert other.get(key) == b"kept"
    assert other.new_key("name") == networked.new_key("name")


def test_evicting_what_went_with_its_process_does_nothing(
    connector: UCXConnector, store_pid: Pid
) -> None:
    lost = connector.put(b"lost")
    kill_store(connector, store_pid)
    connector.evict(lost)
    connector.put(b"so that another process runs")
    connector.evict(lost)
    other = UCXConnector.from_config(connector.config())
    connector.close()
    other.evict(lost)


def test_who_comes_when_the_queue_is_full_waits_for_a_place(
    connector: UCXConnector, store_pid: Pid, opened: Callable[..., UCXConnector]
) -> None:
    key, pid = connector.put(b"x"), store_pid(connector)
    place = Place("ucx", connector.config()["namespace"])
    stop(pid)
    try:
        with ExitStack() as stack:
            for sock in full_queue(place.file(key.where)):
                stack.enter_context(sock)
            hurried = opened(UCXConnector.from_config({**connector.config(), "timeout": 0.05}))
            with pytest.raises(ConnectorUnavailableError, match=r"no connection within 0\.05 s"):
                hurried.get(key)
            patient = opened(UCXConnector.from_config({**connector.config(), "timeout": 20.0}))
            found: list[object] = []
            asking = threading.Thread(target=lambda: found.append(patient.get(key)))
            asking.start()
    finally:
        os.kill(pid, signal.SIGCONT)
    asking.join(20)
    assert found == [b"x"]


def full_queue(path: str) -> Iterator[socket.socket]:
    """Connections to a process that is stopped, until it has no place for another."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most[1], most[1]))
    try:
        while True:
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            try:
                sock.connect(path)
            except BlockingIOError:
                sock.close()
                return
            yield sock
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)


@pytest.mark.slow
def test_who_gets_an_object_while_the_store_process_is_killed_gets_an_error(
    connector: UCXConnector, store_pid: Pid, client: Callable[..., subprocess.Popen[str]]
) -> None:
    connector.put(b"so that a process runs")
    process = client(
        connector,
        "from proxystore.errors import ConnectorUnavailableError\n"
        "k = c.put(bytes(256 << 20)); c.get(k)\n"
        "try:\n"
        "    while True: print('on', flush=True); assert c.get(k) is not None\n"
        "except ConnectorUnavailableError as e: print(type(e).__name__, flush=True)",
    )
    assert line_of(process) == "on"
    os.kill(store_pid(connector), signal.SIGKILL)
    while (said := line_of(process)) == "on":
        pass
    assert said in {"ConnectorUnavailableError", "MediumGoneError"}
    assert process.wait(10) == 0


@pytest.mark.slow
def test_who_puts_an_object_while_the_store_process_is_killed_puts_it_into_the_next(
    connector: UCXConnector, store_pid: Pid, client: Callable[..., subprocess.Popen[str]]
) -> None:
    connector.put(b"so that a process runs")
    process = client(
        connector,
        "from contextlib import suppress\n"
        "from proxystore.errors import ConnectorUnavailableError\n"
        "b = bytes(128 << 20)\n"
        "while True:\n"
        "    k = c.put(b); print('on', flush=True)\n"
        "    with suppress(ConnectorUnavailableError): c.evict(k)\n",
    )
    for _ in range(3):
        assert line_of(process) == "on"
        os.kill(store_pid(connector), signal.SIGKILL)
        assert line_of(process) == "on"
    assert process.poll() is None


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["c.evict(c.put(b))", "c.get(k)"])
def test_a_client_killed_in_the_middle_of_an_object_disturbs_nobody(
    connector: UCXConnector,
    store_pid: Pid,
    client: Callable[..., subprocess.Popen[str]],
    operation: str,
) -> None:
    key = connector.put(bytes(LARGE))
    pid = store_pid(connector)
    process = client(
        connector,
        "b = bytes(256 << 20); k = c.put(b, ttl=60); print('on', flush=True)\n"
        f"while True: print('on', flush=True); {operation}",
    )
    assert line_of(process) == "on"
    assert line_of(process) == "on"
    process.kill()
    process.wait()
    assert len(connector.get(key) or b"") == LARGE
    assert store_pid(connector) == pid


@pytest.mark.slow
def test_a_store_process_that_does_not_answer_is_an_error_in_time(
    opened: Callable[..., UCXConnector], store_pid: Pid
) -> None:
    made = opened(UCXConnector(timeout=0.5))
    key = made.put(bytes(LARGE))
    pid = store_pid(made)
    stop(pid)
    try:
        for operation in (lambda: made.get(key), lambda: made.put(b"x")):
            with pytest.raises(ConnectorUnavailableError, match=r"0\.5 s"):
                operation()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert len(made.get(key) or b"") == LARGE


@pytest.mark.slow
@pytest.mark.parametrize("opened_before", [False, True])
def test_a_large_put_to_a_process_that_was_stopped_ends_within_its_timeout(
    opened: Callable[..., UCXConnector], store_pid: Pid, opened_before: bool
) -> None:
    made = opened(UCXConnector(timeout=1.0))
    payload = bytes(100_000_000)
    made.put(payload if opened_before else b"small")
    pid = store_pid(made)
    stop(pid)
    started = time.monotonic()
    try:
        with pytest.raises(ConnectorUnavailableError, match="1 s"):
            made.put(payload)
        assert time.monotonic() - started < 3
        started = time.monotonic()
        made.close()
        assert time.monotonic() - started < 4
    finally:
        os.kill(pid, signal.SIGCONT)
    assert ended(pid)


def test_a_wait_ends_with_an_error_when_the_store_process_is_killed(
    connector: UCXConnector, store_pid: Pid
) -> None:
    connector.put(b"so that a process runs")
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            connector.wait(connector.new_key())
        except ConnectorUnavailableError as exc:
            raised.append(exc)

    waiting = threading.Thread(target=wait)
    waiting.start()
    kill_store(connector, store_pid)
    waiting.join(10)
    assert len(raised) == 1


@pytest.mark.slow
def test_when_its_owner_is_killed_the_store_process_ends(
    client: Callable[..., subprocess.Popen[str]], connector: UCXConnector
) -> None:
    process = client(
        connector,
        "o = UCXConnector(namespace='orphan'); o.put(b'x'); print('on', flush=True)\n"
        "import time; time.sleep(60)",
    )
    assert line_of(process) == "on"
    found = Place("ucx", "orphan").announced()
    assert found is not None
    process.kill()
    assert ended(found.pid)
    assert not os.path.exists(Place("ucx", "orphan").path)


def test_what_put_returned_for_is_there_after_its_writer_was_killed(
    connector: UCXConnector, client: Callable[..., subprocess.Popen[str]]
) -> None:
    process = client(connector, "print(c.put(bytes(3 << 20)).object_id, flush=True); input()")
    key = connector.new_key(line_of(process))
    process.kill()
    assert len(connector.get(key) or b"") == 3 << 20
