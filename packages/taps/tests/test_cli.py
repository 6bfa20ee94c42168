from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxystore.connectors.file import list_media
from taps.cli import main

Taps = Callable[..., subprocess.CompletedProcess[str]]

TEXT = ["--app", "mapreduce", "--app.generate", "true", "--app.generated-words", "500"]


def result_of(run_dir: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run_dir / "result.json").read_text())
    return content


@pytest.mark.slow
def test_a_run_is_verified_and_written_down(taps: Taps, tmp_path: Path) -> None:
    process = taps("run", *TEXT, "--executor", "thread-pool", "--run.dir-format", "here")
    assert process.returncode == 0, process.stderr
    assert "verified      yes" in process.stdout
    run = tmp_path / "here"
    result = result_of(run)
    assert (result["verified"], result["executor"], result["failed"]) == (True, "thread-pool", 0)
    assert result["tasks"] == len((run / "tasks.jsonl").read_text().splitlines())
    assert set(result["phases_s"]) == {"setup", "run", "verify"}
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"]["taps"]
    assert environment["hardware"]["logical_cores"] == os.cpu_count()
    assert (run / "config.toml").exists()
    assert (run / "log.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("transformer", ["file", "proxystore"])
def test_a_run_by_reference_is_verified_and_moves_less_by_value(
    taps: Taps, tmp_path: Path, transformer: str
) -> None:
    by_value = ["run", *TEXT, "--executor.context", "fork", "--run.dir-format", "value"]
    by_reference = [*by_value[:-1], "reference", "--transformer", transformer]
    if transformer == "file":
        by_reference += ["--transformer.file-dir", "objects"]
    for command in (by_value, by_reference):
        process = taps(*command)
        assert process.returncode == 0, process.stdout + process.stderr
    value, reference = result_of(tmp_path / "value"), result_of(tmp_path / "reference")
    assert value["bytes_by_reference"] == 0
    assert reference["bytes_by_value"] < value["bytes_by_value"]
    assert reference["bytes_by_reference"] > reference["bytes_by_value"]
    assert not (tmp_path / "objects").exists()


@pytest.mark.slow
def test_two_runs_of_one_name_get_two_directories(taps: Taps, tmp_path: Path) -> None:
    for _ in range(2):
        assert taps("run", *TEXT, "--executor", "serial", "--run.dir-format", "x").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "x-2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["--app.map-taks", "3"],
        ["--app.map-tasks", "0"],
        ["--executor", "thred-pool"],
    ],
)
def test_a_mistake_is_usage_without_a_traceback(
    taps: Taps, tmp_path: Path, arguments: list[str]
) -> None:
    process = taps("run", "--app", "mapreduce", *arguments)
    assert process.returncode == 2
    assert "Traceback" not in process.stderr
    assert process.stderr.startswith("taps: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_environment_does_not_leak_into_a_run(taps: Taps, tmp_path: Path) -> None:
    arguments = ["run", *TEXT, "--executor", "serial", "--run.dir-format", "x"]
    process = taps(*arguments, TOP="wrong", APP="wrong", ENGINE="wrong", MAP_TASKS="wrong")
    assert process.returncode == 0, process.stderr


@pytest.mark.slow
def test_help_lists_the_options_of_what_is_selected(taps: Taps) -> None:
    text = taps("run", "--app", "mapreduce", "--executor", "thread-pool", "--help").stdout
    assert "--app.map-tasks" in text
    assert "--executor.max-threads" in text
    assert "--executor.max-processes" not in text


def test_help_says_what_is_needed_only_with_other_options(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--app", "mapreduce", "--transformer", "proxystore", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "(needed if there are options of connector)" in text
    assert "(must be given)" not in text


@pytest.mark.parametrize("command", ["compare", "report"])
def test_help_of_a_command_says_what_it_does(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "exits with 1" in " ".join(capsys.readouterr().out.lower().split())


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["list"], ["--help"]])
def test_a_reader_that_leaves_early_is_no_error(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-m", "taps", *arguments],
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=30,
    )  # fmt: skip
    os.close(writer)
    assert (process.returncode, process.stderr) == (0, "")


@pytest.mark.slow
def test_a_failed_run_fails_without_a_reader_too(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "taps", "run", "--app", "mapreduce"]
    process = subprocess.run(
        [*command, "--app.data-dir", "no", "--executor", "serial"],
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=30, cwd=tmp_path,
    )  # fmt: skip
    os.close(writer)
    assert (process.returncode, process.stderr) == (1, "")


@pytest.mark.slow
def test_list_describes_every_kind_of_plugin(taps: Taps) -> None:
    text = taps("list").stdout
    for name in ("apps", "mapreduce", "serial", "proxystore", "object-type"):
        assert name in text
    assert "not usable" not in text.replace("cholesky       not usable", "")


@pytest.mark.slow
def test_a_plugin_that_raises_on_import_does_not_hide_the_others(
    tmp_path: Path, slow_app: dict[str, str], taps: Taps
) -> None:
    (tmp_path / "site/slow_app.py").write_text("raise RuntimeError('not today')")
    process = taps("list", PYTHONPATH=slow_app["PYTHONPATH"])
    assert process.returncode == 0, process.stderr
    assert "RuntimeError: not today" in process.stdout
    assert "thread-pool" in process.stdout


@pytest.mark.slow
def test_a_run_that_failed_shows_the_error_once_and_logs_the_traceback(
    taps: Taps, tmp_path: Path
) -> None:
    process = taps("run", "--app", "mapreduce", "--app.data-dir", "no", "--run.dir-format", "x")
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert "there is no such directory" in process.stdout
    assert "Traceback" in (tmp_path / "x/log.txt").read_text()


LIGHT = """
import sys
import taps, taps.cli
try:
    taps.cli.main(["--help"])
except SystemExit:
    pass
heavy = {"pydantic", "numpy", "dask", "ray", "parsl", "rich", "matplotlib"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""


def test_help_imports_nothing_heavy() -> None:
    process = subprocess.run(
        [sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr


SLOW_APP = """
from pathlib import Path
from typing import Literal
from taps.apps.abc import AppConfig, Verification
from taps.testing import tasks

class SlowConfig(AppConfig):
    \"\"\"Waits for a file that never comes.\"\"\"
    name: Literal["slow"] = "slow"
    path: Path

    def get_app(self):
        return SlowApp(self.path)

class SlowApp:
    def __init__(self, path):
        self.path = path
    def run(self, engine, run_dir):
        engine.submit(tasks.add, 1, 2).result()
        if self.path.name == "forgotten":
            engine.submit(tasks.wait_for_file, str(self.path))
            return
        waiting = [engine.submit(tasks.wait_for_file, f"{self.path}{n}") for n in range(4)]
        engine.submit(tasks.combine, waiting=waiting).result()
    def verify(self):
        self.path.with_suffix(".verified").touch()
        return Verification(ok=True, detail="it ended")
    def close(self):
        pass
"""


@pytest.fixture
def slow_app(tmp_path: Path) -> dict[str, str]:
    """The environment in which an app named ``slow`` is installed."""
    site = tmp_path / "site"
    info = site / "slow_app-1.dist-info"
    info.mkdir(parents=True)
    (site / "slow_app.py").write_text(SLOW_APP)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-app\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[taps.apps]\nslow = slow_app:SlowConfig\n")
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_an_interrupted_run_ends_at_once_with_its_records_and_no_workers(
    tmp_path: Path,
    slow_app: dict[str, str],
    context: str,
    eventually: Callable[[Callable[[], object]], None],
    is_alive: Callable[[int], bool],
) -> None:
    gate = tmp_path / "gate"
    command = [sys.executable, "-m", "taps", "run", "--app", "slow", "--app.path", str(gate)]
    command += ["--executor.context", context, "--executor.max-processes", "2"]
    command += ["--run.dir-format", str(tmp_path / "run"), "--transformer", "proxystore"]
    with subprocess.Popen(
        command, env=slow_app, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        waiting = [tmp_path / f"gate{n}.waiting" for n in range(2)]
        eventually(lambda: all(path.exists() and path.read_text() for path in waiting))
        (medium,) = [info.path for info in list_media() if info.owner_pid == process.pid]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert not Path(medium).exists()
    workers = [int(path.read_text()) for path in waiting]
    eventually(lambda: not any(is_alive(pid) for pid in workers))
    records = [json.loads(line) for line in (tmp_path / "run/tasks.jsonl").read_text().splitlines()]
    assert [record["success"] for record in records] == [True] + [False] * 5
    result = result_of(tmp_path / "run")
    assert (result["interrupted"], result["verified"], result["tasks"]) == (True, False, 6)


@pytest.mark.slow
def test_a_run_is_interrupted_while_it_waits_for_tasks_that_the_app_forgot(
    tmp_path: Path,
    slow_app: dict[str, str],
    eventually: Callable[[Callable[[], object]], None],
    is_alive: Callable[[int], bool],
) -> None:
    command = [sys.executable, "-m", "taps", "run", "--app", "slow", "--app.path", "forgotten"]
    command += ["--run.dir-format", "run"]
    waiting = tmp_path / "forgotten.waiting"
    with subprocess.Popen(command, env=slow_app, cwd=tmp_path) as process:
        try:
            eventually(lambda: waiting.exists() and waiting.read_text())
            eventually((tmp_path / "forgotten.verified").exists)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        finally:
            process.kill()
    assert not is_alive(int(waiting.read_text()))
    assert result_of(tmp_path / "run")["interrupted"] is True


@pytest.mark.slow
def test_a_killed_worker_fails_the_run_with_its_name(
    tmp_path: Path,
    slow_app: dict[str, str],
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    command = [sys.executable, "-m", "taps", "run", "--app", "slow", "--app.path", "gate"]
    command += ["--executor.max-processes", "2", "--run.dir-format", "run"]
    with subprocess.Popen(
        command, env=slow_app, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        waiting = tmp_path / "gate0.waiting"
        eventually(lambda: waiting.exists() and waiting.read_text())
        os.kill(int(waiting.read_text()), signal.SIGKILL)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "'wait_for_file'" in output
    assert result_of(tmp_path / "run")["verified"] is False
