"""Logging in, as a user and as a client; where the tokens are; what travels."""

from __future__ import annotations

import json
import os
import pickle
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from globus_sdk.token_storage import TokenStorageData

from proxystore.errors import ConfigError, SecretNotFoundError, UnsafeSecretError
from proxystore.store import Store
from proxystore_connectors_globus import GlobusConnector, LoginRequiredError
from proxystore_connectors_globus._storage import PrivateTokenStorage

CLIENT_ID = "11111111-2222-4333-8444-555555555555"
SECRET = "not-a-real-secret"


def _run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The command, as the installed script runs it."""
    program = "import sys; from proxystore_connectors_globus.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def user(login, monkeypatch: pytest.MonkeyPatch) -> None:
    """An application of which users log in; there is no secret."""
    monkeypatch.delenv("PROXYSTORE_GLOBUS_CLIENT_SECRET")


def _tokens() -> Path:
    return Path(os.environ["PROXYSTORE_HOME"]) / "globus" / f"{CLIENT_ID}.json"


# --- As a user ----------------------------------------------------------------


@pytest.mark.slow
def test_a_user_logs_in_moves_objects_and_logs_out(globus, sites, user) -> None:
    done = _run("login", stdin="good-code\n")
    assert 0 == done.returncode, done.stderr
    assert "Logged in to Globus as user@example.org" in done.stdout
    with sites.make() as here, sites.at(1, here) as there:
        assert b"x" == bytes(there.get(here.put(b"x")))
        globus.fault(expire_tokens="expire")
        assert b"y" == bytes(there.get(here.put(b"y")))
    assert "user@example.org" in _run("whoami").stdout
    done = _run("logout")
    assert "revoked and removed" in done.stdout, done.stderr
    assert not _tokens().exists()
    assert [] == globus.records("refresh")
    with (
        sites.make(clear=False) as here,
        pytest.raises(LoginRequiredError, match="Run: proxystore-globus-auth login"),
    ):
        here.put(b"x")


@pytest.mark.slow
def test_a_login_that_was_revoked_is_told_and_a_new_one_is_found(globus, sites, user) -> None:
    assert 0 == _run("login", stdin="good-code\n").returncode
    with sites.make() as here:
        here.put(b"x")
        globus.fault(expire_tokens="revoke")
        with pytest.raises(LoginRequiredError, match="login --force"):
            here.put(b"y")
        assert 0 == _run("login", "--force", stdin="good-code\n").returncode
        assert here.get(here.put(b"z")) is not None


@pytest.mark.slow
def test_a_login_asks_for_consent_to_collections(user) -> None:
    collection = "00000000-1111-4222-8333-444444444444"
    done = _run("login", "-c", collection, "-d", "example.edu", stdin="good-code\n")
    assert 0 == done.returncode, done.stderr
    url = next(word for word in done.stdout.split() if "/authorize" in word)
    asked = parse_qs(urlsplit(url).query)
    assert f"{collection}/data_access" in asked["scope"][0]
    assert ["example.edu"] == asked["session_required_single_domain"]


def test_a_worker_never_asks_for_a_code(sites, user, monkeypatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    with sites.make(clear=False) as here, pytest.raises(LoginRequiredError):
        here.put(b"x")


@pytest.mark.slow
def test_a_wrong_code_is_told_in_a_sentence(user) -> None:
    done = _run("login", stdin="bad-code\n")
    assert 1 == done.returncode
    assert "invalid_grant" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_login_without_a_terminal_says_where_to_do_it(user) -> None:
    done = _run("login")
    assert 1 == done.returncode
    assert "nobody to enter the code" in done.stderr
    assert "Run in a terminal: proxystore-globus-auth login" in done.stderr
    assert "service account" in done.stderr
    for word in ("Traceback", "EOF", "Check the options"):
        assert word not in done.stderr


def test_an_owner_that_put_nothing_closes_without_a_login(sites, user, monkeypatch) -> None:
    with sites.make() as here:
        with pytest.raises(LoginRequiredError):
            here.put(b"x")
        path = sites.file(0, here)
        assert path.exists()
    assert not path.exists()
    monkeypatch.delenv("PROXYSTORE_GLOBUS_CLIENT_ID")
    sites.make().close()


def test_an_owner_that_put_something_is_told_that_its_login_is_gone(sites, monkeypatch) -> None:
    here = sites.make()
    here.put(b"x")
    here._service.close()
    _tokens().unlink()
    monkeypatch.setenv("PROXYSTORE_GLOBUS_CLIENT_SECRET", "another")
    with pytest.raises(LoginRequiredError):
        here.close()


def test_what_is_no_client_id_is_not_repeated(sites) -> None:
    with pytest.raises(ConfigError, match="client_id") as caught:
        sites.make(client_id="hunter2")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


# --- As a client --------------------------------------------------------------


@pytest.mark.slow
def test_a_client_logs_in_without_asking(login) -> None:
    done = _run("login")
    assert 0 == done.returncode, done.stderr
    assert CLIENT_ID in done.stdout
    assert SECRET not in _tokens().read_text() + done.stdout + done.stderr


@pytest.mark.slow
def test_who_is_nobody_says_what_to_run(user) -> None:
    done = _run("whoami")
    assert (1, "") == (done.returncode, done.stdout)
    assert "proxystore-globus-auth login" in done.stderr


@pytest.mark.slow
def test_without_a_client_id_the_command_says_where_to_get_one(user, monkeypatch) -> None:
    monkeypatch.delenv("PROXYSTORE_GLOBUS_CLIENT_ID")
    done = _run("login")
    assert 1 == done.returncode
    assert "PROXYSTORE_GLOBUS_CLIENT_ID" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_help_teaches() -> None:
    done = _run("--help")
    for word in (
        "Register an application",
        "export PROXYSTORE_GLOBUS_CLIENT_ID",
        "login",
        "whoami",
    ):
        assert word in done.stdout


def test_an_identity_of_the_environment_travels_without_its_secret(sites, here) -> None:
    config = here.config()
    assert CLIENT_ID == config["client_id"]
    assert "env:PROXYSTORE_GLOBUS_CLIENT_SECRET" == config["client_secret"]
    with Store("travels", here) as store:
        travels = pickle.dumps(store.proxy([1])) + pickle.dumps(here.put(b"x"))
    assert SECRET.encode() not in travels + here.url.encode() + repr(here).encode()


def test_stores_that_differ_in_where_the_secret_is_are_one(sites, here) -> None:
    elsewhere = sites.at(0, here, client_secret="file:/somewhere/else")
    with Store("one", here, register=False) as one:
        two = Store("two", elsewhere, register=False)
        assert one.identity == two.identity


def test_a_secret_in_a_file_is_read_there(sites, tmp_path, monkeypatch) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    file.chmod(0o600)
    monkeypatch.delenv("PROXYSTORE_GLOBUS_CLIENT_SECRET")
    reference = f"file:{file}"
    with sites.make(client_id=CLIENT_ID, client_secret=reference) as here:
        assert here.get(here.put(b"x")) is not None
        file.chmod(0o644)
        here._service.close()
        with pytest.raises(UnsafeSecretError):
            here.put(b"x")
        file.chmod(0o600)


def test_a_secret_that_is_not_here_is_named(sites) -> None:
    with (
        sites.make(client_id=CLIENT_ID, client_secret="env:NOT_SET", clear=False) as here,
        pytest.raises(SecretNotFoundError, match="NOT_SET"),
    ):
        here.put(b"x")


def test_a_clear_secret_is_refused_and_not_repeated(sites, here) -> None:
    url = here.url.replace("env%3A", "").replace("env:", "")
    assert url != here.url
    for attempt in (
        lambda: sites.make(client_id=CLIENT_ID, client_secret="hunter2"),
        lambda: sites.at(0, here, client_secret="hunter2"),
        lambda: GlobusConnector.from_url(url.replace("PROXYSTORE_GLOBUS_CLIENT_SECRET", "hunter2")),
    ):
        with pytest.raises(ConfigError, match="reference") as caught:
            attempt()
        assert "hunter2" not in str(caught.value)


# --- Tokens -------------------------------------------------------------------


def _data(server: str, token: str = "t") -> TokenStorageData:
    return TokenStorageData(server, None, "scope", token, None, 2_000_000_000, "Bearer")


def test_tokens_are_for_their_user_alone(globus, sites, here) -> None:
    previous = os.umask(0)
    try:
        here.put(b"x")
    finally:
        os.umask(previous)
    assert 0o600 == stat.S_IMODE(_tokens().stat().st_mode)
    assert 0o700 == stat.S_IMODE(_tokens().parent.stat().st_mode)
    assert [_tokens().name] == [p.name for p in _tokens().parent.iterdir() if p.suffix != ".lock"]


def test_the_umask_of_the_process_stays(login) -> None:
    storage = PrivateTokenStorage(CLIENT_ID)
    before = os.umask(0o022)
    with ThreadPoolExecutor(4) as pool:
        storing = [
            pool.submit(storage.store_token_data_by_resource_server, {f"s{n}": _data(f"s{n}")})
            for n in range(20)
        ]
        seen = set()
        while not all(each.done() for each in storing):
            seen.add(os.umask(0o022))
    os.umask(before)
    assert 20 == len(storage.get_token_data_by_resource_server())
    assert {0o022} == seen


@pytest.mark.slow
def test_processes_that_store_tokens_at_once_lose_none(login) -> None:
    program = (
        "import sys; from globus_sdk.token_storage import TokenStorageData as D\n"
        "from proxystore_connectors_globus._storage import PrivateTokenStorage as S\n"
        "for n in range(20):\n"
        "    name = f'{sys.argv[1]}-{n}'\n"
        f"    S('{CLIENT_ID}').store_token_data_by_resource_server("
        "{name: D(name, None, 's', 't', None, 1, None)})\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", program, name]) for name in ("one", "two")]
    assert [0, 0] == [each.wait(60) for each in both]
    assert 40 == len(PrivateTokenStorage(CLIENT_ID).get_token_data_by_resource_server())


def test_the_file_goes_with_the_last_token(login) -> None:
    storage = PrivateTokenStorage(CLIENT_ID)
    storage.store_token_data_by_resource_server({"a": _data("a"), "b": _data("b")})
    assert storage.remove_token_data("a") is True
    assert storage.remove_token_data("a") is False
    assert ["b"] == list(storage.get_token_data_by_resource_server())
    assert storage.remove_token_data("b") is True
    assert not storage.path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"a": 1}', '{"a": {"scope": 1}}', "\x00"])
def test_a_file_of_something_else_is_no_login(login, text: str) -> None:
    storage = PrivateTokenStorage(CLIENT_ID)
    storage.store_token_data_by_resource_server({"a": _data("a")})
    storage.path.write_text(text)
    if text:
        with pytest.raises(ConfigError, match="log in again"):
            storage.get_token_data_by_resource_server()
    else:
        assert {} == storage.get_token_data_by_resource_server()


def test_tokens_that_others_can_read_are_refused(sites, here) -> None:
    here.put(b"x")
    here._service.close()
    _tokens().chmod(0o644)
    with pytest.raises(UnsafeSecretError):
        here.put(b"x")
    _tokens().chmod(0o600)
    assert json.loads(_tokens().read_text())
