"""Secrets are read where they are, and are never repeated in what travels or is printed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from proxystore.errors import (
    ConfigError,
    ConnectorUnavailableError,
    SecretNotFoundError,
    UnsafeSecretError,
)
from proxystore.secrets import (
    check_reference,
    generate_secret,
    read_secret,
    read_text_secret,
)

_NEEDED_BY = "redis at db:6379"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROXYSTORE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def _file(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return f"file:{path}"


def test_a_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "ordinary-day")
    assert read_secret("env:DB_PASSWORD", _NEEDED_BY) == b"ordinary-day"


def test_a_secret_comes_from_a_file_without_its_line_end(tmp_path: Path) -> None:
    assert read_secret(_file(tmp_path / "pw", "ordinary day\r\n"), _NEEDED_BY) == b"ordinary day"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    reference = _file(tmp_path / "pw", "ordinary day", mode)
    with pytest.raises(UnsafeSecretError, match=rf"{mode:o}"):
        read_secret(reference, _NEEDED_BY)


@pytest.mark.parametrize("reference", ["env:NOBODY_SET_THIS", "file:/nowhere/at/all"])
def test_a_missing_secret_says_where_it_was_looked_for(reference: str) -> None:
    with pytest.raises(SecretNotFoundError) as caught:
        read_secret(reference, _NEEDED_BY)
    for fact in (reference, _NEEDED_BY, os.uname().nodename.partition(".")[0]):
        assert fact in str(caught.value)


def test_an_empty_secret_is_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "")
    with pytest.raises(SecretNotFoundError, match="empty"):
        read_secret("env:EMPTY", _NEEDED_BY)


@pytest.mark.parametrize(
    "given",
    ["hunter2", "", "env:7", "env:A B", "file:near", "file:/a\0b", "keyring:x", "pass:word", None],
)
def test_what_is_no_reference_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_reference(given, "password")
    assert "env:NAME" in str(caught.value)
    assert not given or given not in str(caught.value)


def test_a_generated_secret_is_private_and_stays(own_home: Path) -> None:
    reference = generate_secret("zmq")
    assert reference == f"file:{own_home}/secrets/zmq"
    assert generate_secret("zmq") == reference
    assert stat.S_IMODE((own_home / "secrets" / "zmq").stat().st_mode) == 0o600
    assert stat.S_IMODE((own_home / "secrets").stat().st_mode) == 0o700
    assert len(read_secret(reference, _NEEDED_BY)) >= 32


@pytest.mark.slow
def test_processes_that_generate_at_once_get_one_secret() -> None:
    program = (
        "from proxystore.secrets import *\n"
        "print(read_secret(generate_secret('shared'), 'test').decode())"
    )
    command = [sys.executable, "-c", program]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    assert len({process.communicate(timeout=60)[0] for process in started}) == 1


@pytest.mark.parametrize("name", ["", "../other", "a/b", "."])
def test_a_generated_secret_never_leaves_its_directory(name: str) -> None:
    with pytest.raises(ValueError, match="file name"):
        generate_secret(name)


def test_no_keyring_is_a_missing_secret_not_a_traceback() -> None:
    with pytest.raises(SecretNotFoundError):
        read_secret("keyring:proxystore-tests/nobody", _NEEDED_BY)


@pytest.mark.parametrize("secret", [b"hunter2\xff", b"hunter2\nmore", b"hunter2\x00"])
def test_what_is_no_printable_text_is_refused_and_not_repeated(
    tmp_path: Path, secret: bytes
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(secret)
    path.chmod(0o600)
    with pytest.raises(SecretNotFoundError) as caught:
        read_text_secret(f"file:{path}", _NEEDED_BY)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_text_secret_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "ordentlich-schön")
    assert read_text_secret("env:DB_PASSWORD", _NEEDED_BY) == "ordentlich-schön"


@pytest.mark.parametrize("where", ["file", "nosuch"])
def test_a_home_where_no_secret_can_be_made_is_reported(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    home = {"file": str(tmp_path / "file"), "nosuch": "/proc/nosuch"}[where]
    monkeypatch.setenv("PROXYSTORE_HOME", home)
    with pytest.raises(ConnectorUnavailableError, match=f"{home}.*PROXYSTORE_HOME"):
        generate_secret("zmq")


def test_a_generated_secret_that_was_emptied_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXYSTORE_HOME", str(tmp_path))
    Path(generate_secret("zmq").removeprefix("file:")).write_bytes(b"")
    with pytest.raises(SecretNotFoundError, match="it is empty"):
        generate_secret("zmq")
